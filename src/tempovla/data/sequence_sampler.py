"""Windows of several steps, drawn uniformly from a source that may grow between draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.loader import read_windows
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.noise import mix_seed
from tempovla.timeline.sample import TimelineSample
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.window import Window


@runtime_checkable
class Growing(Protocol):
    """A source to which episodes are appended, and of which only the newest may be sampled."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) control steps of all episodes."""

    def first_sampled_of(self, count: int) -> int:
        """Return the number of the oldest episode that was sampled when there were `count`."""


class SequenceSampler:
    """Draws batches whose rows begin at any `stride`-th step that enough others follow, each as likely.

    An episode is counted in actions of `stride` steps each, and its end may cut the last one short. Rows begin where
    as many actions are left as `length` steps take. In an episode with fewer actions, one row begins at its start.

    A draw depends on the seed, its number, and the number of episodes then known alone, so that a run that is taken up
    again with the episodes that it had repeats its batches bit for bit.

    Args:
        source: which may grow, as `ReplaySource` does; a source that does not is sampled as a whole. `data.memory`'s
            `preload` makes others as fast.
        windows: one a stream, around the first of the steps. Where they reach beyond an episode's ends, values are
            clamped and invalid, as in all samples.
        batch_size: rows B.
        length: steps of a row in an episode that is long enough, the first included; L + 1 for L actions and what
            followed them.
        seed: of the run.
        stride: control steps from one step at which a row may begin to the next, counted from the episode's start.

    Raises:
        UnknownStreamError: if the source has no such stream.
        ValueError: if two windows are on one stream, or `batch_size`, `length` or `stride` is below 1.
    """

    def __init__(
        self,
        source: EpisodeSource,
        windows: Sequence[Window],
        *,
        batch_size: int,
        length: int,
        seed: int,
        stride: int = 1,
    ) -> None:
        keys = [window.key for window in windows]
        if len(set(keys)) != len(keys):
            raise ValueError(f"windows {keys} have two windows on one stream; join its offsets into one window")
        for key in keys:
            if key not in source.streams:
                raise unknown_stream(key, source.streams, source.name)
        if batch_size < 1 or length < 1 or stride < 1:
            raise ValueError(f"batch_size={batch_size}, length={length} and stride={stride} must be at least 1")
        self.source, self.windows = source, tuple(windows)
        self.batch_size, self.length, self.seed, self.stride = batch_size, length, seed, stride
        fixed = None if isinstance(source, Growing) else [source.episode(i).length for i in range(len(source))]
        self._fixed = None if fixed is None else np.array(fixed, np.int64)

    def draw(self, number: int, episodes: int | None = None) -> TimelineSample:
        """Return the batch of one draw.

        Args:
            number: of the draw, counted from 0.
            episodes: how many episodes are known; None takes all that there are.

        Raises:
            DatasetError: if there is no episode with a step, or there are not so many episodes.
        """
        chosen, steps = self.places(number, episodes)
        context, future = read_windows(self.source, self.windows, chosen, steps)
        seed = mix_seed(torch.full((self.batch_size,), self.seed), torch.full((self.batch_size,), number))
        return TimelineSample(context, future, mix_seed(seed, torch.arange(self.batch_size)))

    def places(self, number: int, episodes: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the episodes (B,) and first steps (B,) of the rows of one draw; see `draw`."""
        count = len(self.source) if episodes is None else episodes
        if not 0 <= count <= len(self.source):
            raise DatasetError(
                f"{self.source.name}: has {with_noun(len(self.source), 'episode')}, not {count}; give no more"
            )
        first, lengths = self._sampled(count)
        ends = np.cumsum(self._rows_of(lengths))
        if not len(ends) or ends[-1] == 0:
            raise DatasetError(
                f"{self.source.name}: none of its {count} episodes has a step to draw; append an episode first"
            )
        index = np.random.default_rng((self.seed, number, count)).integers(ends[-1], size=self.batch_size)
        which = np.searchsorted(ends, index, side="right")
        begin = np.where(which > 0, ends[which - 1], 0)
        return which + first, (index - begin) * self.stride

    def _rows_of(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (N,) the number of rows that begin in each of N episodes of (N,) steps."""
        actions, needed = -(-lengths // self.stride), -(-self.length // self.stride)
        return np.where(actions > 0, np.maximum(actions - needed + 1, 1), 0)

    def _sampled(self, count: int) -> tuple[int, NDArray[np.int64]]:
        """The first episode that is drawn from, and the lengths of it and of those behind it."""
        if isinstance(self.source, Growing):
            first = self.source.first_sampled_of(count)
            return first, self.source.lengths[first:count]
        assert self._fixed is not None
        return 0, self._fixed[:count]
