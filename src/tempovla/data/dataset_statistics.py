"""A dataset's statistics: computed ones that were kept, else stored ones, else computed at first use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data import plausibility
from tempovla.data.errors import unknown_stream
from tempovla.data.kept_statistics import KeptStatistics
from tempovla.data.layout import DatasetMeta
from tempovla.data.plausibility import Finding, Parts, loose_quantiles
from tempovla.data.statistics import NAMES, Progress, Statistic, compute, unwatched
from tempovla.data.stored_statistics import StoredStatistics, load_statistics
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeSource

LOGGER = logging.getLogger(__name__)

Needed = Mapping[str, Collection[str]]
"""The wanted statistics: streams, each with names of statistics."""


@runtime_checkable
class StatisticsTable(Protocol):
    """Statistics that can be computed and checked; a source may have plain ones instead, which are taken as they are.

    `compute` takes streams of this source, and those that its `absent` names. `parts` tells which dimensions of a
    stream of vectors matter, where not all do.
    """

    def absent(self, needed: Needed, parts: Parts | None = None) -> list[str]:
        """Return the wanted streams whose statistics have not been computed yet."""

    def compute(self, keys: Collection[str], progress: Progress = unwatched) -> None:
        """Compute the statistics of some streams, in one reading."""

    def findings(self, needed: Needed, parts: Parts | None = None) -> list[Finding]:
        """Return problems of stored statistics, compared with the rows."""


class StreamStatistics(dict[str, NDArray[np.float64]]):
    """One stream's stored statistics; one that is not stored, such as a quantile, is computed."""

    def __init__(self, stored: Statistic, computed: Callable[[], Statistic]) -> None:
        super().__init__(stored)
        self._computed = computed

    def __missing__(self, name: str) -> NDArray[np.float64]:
        if name not in NAMES:
            raise KeyError(name)
        return self._computed()[name]


class LazyStatistics(Mapping[str, Statistic]):
    """Exact statistics of a source's streams of numbers, each computed at first use."""

    def __init__(self, source: EpisodeSource) -> None:
        self._source = source
        self._computed: dict[str, Statistic] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(number_streams(self._source))

    def __len__(self) -> int:
        return len(number_streams(self._source))

    def __contains__(self, key: object) -> bool:
        return key in number_streams(self._source)

    def __getitem__(self, key: str) -> Statistic:
        if key not in self:
            raise KeyError(key)
        if key not in self._computed:
            self.compute([key])
        return self._computed[key]

    def absent(self, needed: Needed, parts: Parts | None = None) -> list[str]:
        """Return the wanted streams that have not been computed yet."""
        return [key for key in needed if key in self and key not in self._computed]

    def compute(self, keys: Collection[str], progress: Progress = unwatched) -> None:
        """Compute the statistics of some streams, in one reading."""
        self._computed |= compute(self._source, keys, progress=progress)

    def findings(self, needed: Needed, parts: Parts | None = None) -> list[Finding]:
        """Return no findings, as computed statistics are exact."""
        return []


class DatasetStatistics(Mapping[str, Statistic]):
    """Statistics of a LeRobot dataset.

    Computed ones, which were kept, go before those that the dataset brings: they are exact, and of the rows as they are
    now. Streams of numbers that have neither are computed when they are asked for, and kept; pictures are not.

    Args:
        source: reads the rows.
        meta: its metadata.
    """

    def __init__(self, source: EpisodeSource, meta: DatasetMeta) -> None:
        self._source, self._meta = source, meta
        self._keeping = KeptStatistics(meta)
        self._loose: dict[tuple[str, tuple[StreamPart, ...] | None], str | None] = {}
        self._certain: set[str] = set()  # computed by this object, of the rows that it reads

    @cached_property
    def stored(self) -> StoredStatistics:
        """The statistics that the dataset stores."""
        return load_statistics(self._meta)

    @cached_property
    def computed(self) -> dict[str, Statistic]:
        """The statistics that were computed, now or earlier."""
        return self._keeping.load()

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.stored.streams, *number_streams(self._source)]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> Statistic:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self.computed and key not in self.stored.streams:
            self.compute([key])
        if key in self.computed:
            return self.computed[key]
        stored = self.stored.streams[key]
        if key not in number_streams(self._source):
            return stored
        return StreamStatistics(stored, lambda: self._computed_now(key))

    def _computed_now(self, key: str) -> Statistic:
        if key not in self.computed:
            self.compute([key])
        return self.computed[key]

    def absent(self, needed: Needed, parts: Parts | None = None) -> list[str]:
        """Of the streams that are asked for, those to compute: not all of their statistics are stored, or quantiles are
        asked for, and those that are stored are too far from those of the rows.
        """
        return [
            key
            for key, names in needed.items()
            if key in number_streams(self._source)
            and key not in self.computed
            and not (set(names) <= set(self.stored.streams.get(key, {})) and self._holds(key, names, parts or {}))
        ]

    def _holds(self, key: str, names: Collection[str], parts: Parts) -> bool:
        if not {"q01", "q99"} <= set(names):
            return True
        place = (key, tuple(parts[key]) if key in parts else None)
        if place not in self._loose:
            self._loose[place] = loose_quantiles(self._source, key, self.stored.streams[key], parts.get(key))
        return self._loose[place] is None

    def compute(self, keys: Collection[str], progress: Progress = unwatched) -> None:
        """Compute the statistics of some streams, in one reading, and keep them.

        Raises:
            DatasetError: if a value is not finite.
        """
        reasons = [self.stored.faults.get(key) for key in keys]
        reasons += [reason for (key, _), reason in self._loose.items() if key in keys]
        for reason in dict.fromkeys(filter(None, reasons)):
            LOGGER.warning("%s; the statistics are computed from the data instead", reason)
        found = compute(self._source, keys, progress=progress)
        self.computed.update(found)
        self._certain.update(found)
        path = self._keeping.keep(found)
        where = "" if path is None else f", and kept in {path}"
        LOGGER.info("%s: statistics of %s were computed from the data%s", self._meta.root, ", ".join(keys), where)

    def findings(self, needed: Needed, parts: Parts | None = None) -> list[Finding]:
        """Return problems of the stored statistics of some streams, compared with a sample of the rows.

        Those that were kept are compared, too: files may have been changed in ways that their size and time hide.
        """
        used = {**self.stored.streams, **self.computed}
        doubtful = {key: used[key] for key in needed if key in used and key not in self._certain}
        return plausibility.findings(self._source, doubtful, needed, parts)


def number_streams(source: EpisodeSource) -> list[str]:
    """Return streams whose statistics can be computed: those of numbers, without pictures of any kind."""
    return [key for key, stream in source.streams.items() if stream.kind in ("state", "action", "scalar")]


def require_number_streams(source: EpisodeSource, keys: Collection[str]) -> None:
    """Refuse streams that the source does not have or that have no statistics to compute.

    Raises:
        DatasetError: naming the first of them.
    """
    known = number_streams(source)
    for key in keys:
        if key not in known:
            raise unknown_stream(key, known, source.name)
