"""Episode sources: the protocol of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.task import Embodiment

Statistics = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Per stream of vectors: ``mean``, ``std``, ``min``, ``max``, ``count`` and, where known, ``q01``, ``q99``."""

StreamKind = Literal["image", "depth", "points", "state", "action", "scalar"]


@dataclass(frozen=True)
class StreamInfo:
    """The type of a stream's values.

    Attributes:
        kind: images are uint8 RGB (H, W, 3); depth is float32 metres (H, W, 1), 0 where there is no reading; points are
            float32 (N, F), of which those that are absent are rows of NaN behind the others; the rest are float or int
            vectors.
        shape: shape of one value, e.g. (64, 64, 3) or (7,).
        dtype: numpy name of the stored type.
        rate_hz: nominal rate of the stream's own clock [Hz].
        names: names of the dimensions, or empty.
    """

    kind: StreamKind
    shape: tuple[int, ...]
    dtype: str
    rate_hz: float
    names: tuple[str, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether the values are pictures, of colours or of distances."""
        return self.kind in ("image", "depth")

    @property
    def has_statistics(self) -> bool:
        """Whether the values are vectors, of which each dimension has a mean and a spread."""
        return not self.is_picture and self.kind != "points"


class StreamTable(dict[str, StreamInfo]):
    """The streams of a source by key.

    Attributes:
        left_out: why streams that the files declare are not there, by key.
    """

    def __init__(self, streams: Mapping[str, StreamInfo], left_out: Mapping[str, str]) -> None:
        super().__init__(streams)
        self.left_out = dict(left_out)


@dataclass(frozen=True)
class EpisodeInfo:
    """One episode.

    Attributes:
        length: number of control steps.
        instruction: what is carried out at the first step, in words; see `EpisodeSource.instructions` for every step.
        task: the benchmark's name of it, which may tell apart what the words do not, such as two scenes; "" where the
            words are all that is known.
        origin: for messages, the file and what it calls the episode there; "" where the dataset's name says it all.
    """

    length: int
    instruction: str
    task: str = ""
    origin: str = field(default="", compare=False)


class Reading(NamedTuple):
    """Result of a read: value (T, *F), clamped at the episode's ends, and valid (T,) bool."""

    value: NDArray[Any]
    valid: NDArray[np.bool_]


@runtime_checkable
class EpisodeSource(Protocol):
    """A dataset as episodes of streams, each stream with its own timestamps.

    The control clock ticks at `rate_hz`; step 0 is the episode's first control step. Steps before 0 or beyond the end
    are clamped and invalid. A stream that runs at another rate is read at the control step's time: the latest value
    at or before it, invalid when there is none within the tolerance.
    """

    @property
    def name(self) -> str:
        """A name for messages and reports, e.g. the folder."""

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""

    @property
    def embodiment(self) -> Embodiment:
        """The body that was recorded."""

    @property
    def streams(self) -> Mapping[str, StreamInfo]:
        """The streams by key."""

    @property
    def statistics(self) -> Statistics:
        """Statistics of every stream over the whole source."""

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the pictures were made, as plain JSON values, e.g. ``{"simulator": "libero", "rendering": "fast"}``.

        Empty if unknown.
        """

    def __len__(self) -> int:
        """Number of episodes."""

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length and first instruction of one episode (IndexError if there is none)."""

    def instructions(self, episode: int) -> Sequence[str]:
        """Return (length,) words of every control step, which may change within an episode; "" where there are none.

        Raises:
            IndexError: if there is no such episode.
        """

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples [s] since the episode's start."""

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps of one episode.

        Raises:
            KeyError: if there is no such stream.
            IndexError: if there is no such episode.
        """
