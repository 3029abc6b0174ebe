"""Several sources as one set of samples, each source with a weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache, Caching
from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.identity import DataIdentity, identity_of
from tempovla.data.memory import preload
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.window import Window
from tempovla.transform.pipeline import DatasetView


class Mixture:
    """Every control step of the chosen episodes is a sample, or those that `ends` names.

    Args:
        sources: one or more datasets.
        weights: how often each is drawn from, relative to the others; by default as often as it has samples.
        episodes: the episodes to use of each source, e.g. its training split; all by default.
        views: by name of a dataset, in the order of the sources, how its rows become rows like those of the others;
            without views all sources must have the same streams in the same shapes.
        ends: gives the increasing control steps that are samples, of an episode of so many; all by default.

    Raises:
        DatasetError: if nothing is left to sample, or a weight is not positive.
    """

    def __init__(
        self,
        sources: Sequence[EpisodeSource],
        weights: Sequence[float] | None = None,
        episodes: Sequence[Collection[int]] | None = None,
        views: Mapping[str, DatasetView] | None = None,
        ends: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.views = tuple((views or {}).items())
        chosen = episodes if episodes is not None else [range(len(source)) for source in sources]
        if not self.sources or len(chosen) != len(self.sources) or (weights and len(weights) != len(self.sources)):
            raise DatasetError(
                f"{len(self.sources)} sources: give at least one, and as many weights and lists of episodes"
            )
        if self.views and len(self.views) != len(self.sources):
            raise DatasetError(f"{len(self.sources)} sources and {len(self.views)} views: give a view of each, or none")
        self._episodes = [np.array(sorted(part), dtype=np.int64) for part in chosen]
        self._ends: list[NDArray[np.int64]] = []
        self._steps: list[NDArray[np.int32] | None] = []
        for source, part in zip(self.sources, self._episodes, strict=True):
            lengths = [source.episode(int(i)).length for i in part]
            steps = None if ends is None else [np.array(ends(length), dtype=np.int32) for length in lengths]
            self._steps.append(None if steps is None else np.concatenate([*steps, np.zeros(0, np.int32)]))
            self._ends.append(np.cumsum(lengths if steps is None else [len(part) for part in steps], dtype=np.int64))
            if len(part) == 0 or self._ends[-1][-1] == 0:
                raise DatasetError(f"{source.name}: no episode to sample from; record some, or widen the split")
        self.lengths = tuple(int(ends[-1]) for ends in self._ends)
        self.weights = tuple(float(weight) for weight in weights or self.lengths)
        if min(self.weights) <= 0:
            raise DatasetError(f"weights {self.weights} must be positive; leave out a source instead of giving it 0")

    def locate(self, source: int, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the episode and control step of samples `index` (B,) of one source."""
        ends = self._ends[source]
        which = np.searchsorted(ends, index, side="right")
        chosen = self._steps[source]
        if chosen is not None:
            return self._episodes[source][which], chosen[index].astype(np.int64)
        start = np.where(which > 0, ends[which - 1], 0)
        return self._episodes[source][which], index - start

    def windows(self, source: int, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return windows as windows on the streams of one source."""
        return self.views[source][1].windows(windows) if self.views else tuple(windows)

    def _keys(self, source: int, keys: Collection[str]) -> list[str]:
        return [window.key for window in self.windows(source, [Window(key, (0,)) for key in keys])]

    def require(self, keys: Collection[str]) -> None:
        """Check that every source has these streams, without views of one shape, and that its actions are sound.

        Raises:
            UnknownStreamError: if a source lacks a stream.
            DatasetError: if shapes differ, or the data of an episode are damaged or not finite.
        """
        for index, (source, episodes) in enumerate(zip(self.sources, self._episodes, strict=True)):
            for key in self._keys(index, keys):
                if key not in source.streams:
                    raise unknown_stream(key, source.streams, source.name)
                first = source if self.views else self.sources[0]
                shape, wanted = source.streams[key].shape, first.streams[key].shape
                if shape != wanted:
                    raise DatasetError(
                        f"{source.name}: {key!r} has shape {list(shape)}, but {list(wanted)} in {first.name}; "
                        "a mixture needs one shape"
                    )
                if source.streams[key].kind == "action":
                    for episode in episodes.tolist():
                        source.read(episode, key, (0,))

    def identities(self, keys: Collection[str]) -> list[DataIdentity]:
        """Return the identity of each source's data."""
        return [identity_of(source, self._keys(index, keys)) for index, source in enumerate(self.sources)]

    def preloaded(self, keys: Collection[str], max_bytes: int) -> Mixture:
        """Return the same samples, with the sources that fit kept in memory; `max_bytes` is shared among them."""
        share = max_bytes // len(self.sources)
        return self._with(
            [preload(source, self._keys(index, keys), share) for index, source in enumerate(self.sources)]
        )

    def for_worker(self, workers: int) -> Mixture:
        """Return the same samples for one of several worker processes: own open files, and a share of the cache."""

        def own(source: EpisodeSource) -> EpisodeSource:
            return (
                source.with_cache(ByteCache(source.cache.max_bytes // workers))
                if isinstance(source, Caching)
                else source
            )

        return self._with([own(source) for source in self.sources])

    def _with(self, sources: Sequence[EpisodeSource]) -> Mixture:
        other = copy(self)
        other.sources = tuple(sources)
        return other
