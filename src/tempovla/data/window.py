"""Windows read from a source: one at a time, or a batch at once where the source can."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import OutOfRangeError
from tempovla.timeline.source import EpisodeSource, Reading
from tempovla.timeline.window import Window


@runtime_checkable
class BatchedSource(EpisodeSource, Protocol):
    """A source that reads several rows at once faster than one after the other."""

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Values (B, T, *F) and validity (B, T) of one stream at steps (B, T) of episodes (B,)."""


def gather(source: EpisodeSource, episode: int, now: int, window: Window) -> Reading:
    """Read one window around control step `now`: value (T, *F) clamped at the episode's ends, valid (T,).

    Raises:
        IndexError: if there is no such episode, or `now` lies outside it.
        KeyError: if there is no such stream.
    """
    length = source.episode(episode).length
    if not 0 <= now < length:
        raise OutOfRangeError(f"{source.name}: no frame {now} in episode {episode}; it has {length}, counted from 0")
    return source.read(episode, window.key, [now + offset for offset in window.offsets])


def read_rows(source: EpisodeSource, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
    """Values (B, T, *F) and validity (B, T) of one stream at steps (B, T) of episodes (B,)."""
    if isinstance(source, BatchedSource):
        return source.read_many(key, episodes, steps)
    readings = [source.read(episode, key, row) for episode, row in zip(episodes.tolist(), steps.tolist(), strict=True)]
    return Reading(np.stack([r.value for r in readings]), np.stack([r.valid for r in readings]))
