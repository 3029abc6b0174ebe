"""The steps of the newest episodes of a replay, in one array a stream that is written round and round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.source import StreamInfo

_NOWHERE = -1


class ReplayRows:
    """Keeps as many of the newest episodes as fit in a fixed number of rows, so that a batch is one take a stream.

    The system provides memory as rows are written for the first time.

    Args:
        streams: what a row holds.
        rows: how many steps fit.
    """

    def __init__(self, streams: Mapping[str, StreamInfo], rows: int) -> None:
        self._values = {key: np.empty((rows, *stream.shape), stream.dtype) for key, stream in streams.items()}
        self.rows = rows
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._starts = np.full(64, _NOWHERE, np.int64)
        self._count = 0
        self._written = 0

    def __len__(self) -> int:
        """Return the number of episodes that were added, whether or not they are still here."""
        return self._count

    def skip(self, episodes: int) -> None:
        """Count episodes that are not kept."""
        self._room(episodes)
        self._count += episodes

    def add(self, arrays: Mapping[str, NDArray[Any]], length: int) -> None:
        """Keep one more episode of arrays (T, *shape), unless it is longer than all rows."""
        self._room(1)
        if length <= self.rows:
            place = (self._written + np.arange(length)) % self.rows
            for key, values in self._values.items():
                values[place] = arrays[key]
            self._starts[self._count] = self._written
            self._written += length
        self._count += 1

    def truncate(self, count: int) -> None:
        """Forget the newest episodes, so that `count` are left. What they were written over does not come back."""
        self._starts[count : self._count] = _NOWHERE
        self._count = count

    def places(self, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (B,) where episodes begin, to be given to `take`; negative for those that are not here."""
        starts = self._starts[episodes]
        return np.where(starts >= self._written - self.rows, starts, _NOWHERE)

    def take(self, key: str, places: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[Any]:
        """Return (B, T, *shape) values of steps (B, T) within episodes that begin at places (B,)."""
        return np.take(self._values[key], (places[:, None] + steps) % self.rows, axis=0)

    def _room(self, episodes: int) -> None:
        """Make the table of episodes longer if need be; each time twice, so that growing costs little."""
        needed = self._count + episodes
        if needed > len(self._starts):
            more = np.full(max(needed, 2 * len(self._starts)), _NOWHERE, np.int64)
            more[: self._count] = self._starts[: self._count]
            self._starts = more
