"""Statistics of streams that are joined from parts of others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tempovla.data import statistics
from tempovla.data.dataset_statistics import Needed, StatisticsTable, StreamStatistics
from tempovla.data.errors import DatasetError
from tempovla.data.plausibility import Finding, Parts
from tempovla.timeline.parts import StreamPart

if TYPE_CHECKING:
    from tempovla.data.joined import JoinedSource


class JoinedStatistics(Mapping[str, Mapping[str, NDArray[np.float64]]]):
    """Statistics that are joined at first use; see `StatisticsTable`.

    Of a stream of which only some dimensions are read, the others do not matter: where they keep the stream's own
    statistics from being computed, those of the joined stream are.
    """

    def __init__(self, source: JoinedSource) -> None:
        self._source = source
        self._known: dict[str, Mapping[str, NDArray[np.float64]]] = {}
        self._computed: dict[str, Mapping[str, NDArray[np.float64]]] = {}

    def __getitem__(self, key: str) -> Mapping[str, NDArray[np.float64]]:
        source = self._source
        if key not in source.joined:
            return source.source.statistics[source.renamed.get(key, key)]
        if key in self._computed:
            return self._computed[key]
        if key not in self._known:
            parts = self._of_parts(source.joined[key])
            exact = partial(self._exact, key)
            self._known[key] = exact() if parts is None else StreamStatistics(parts, exact)
        return self._known[key]

    def _exact(self, key: str, progress: statistics.Progress = statistics.unwatched) -> dict[str, NDArray[np.float64]]:
        return statistics.compute(self._source, [key], progress=progress)[key]

    def absent(self, needed: Needed, parts: Parts | None = None) -> list[str]:
        """Of the source's streams that these are made of, those that are still to be computed; a joined stream where
        only some of their dimensions are read.
        """
        own = self._source.source.statistics
        if not isinstance(own, StatisticsTable):
            return []
        absent: list[str] = []
        for key, names in needed.items():
            if key not in self._computed:
                found = own.absent(*self._own({key: names}, parts))
                absent += [key] if found and self._is_sliced(key) else found
        return list(dict.fromkeys(absent))

    def compute(self, keys: Collection[str], progress: statistics.Progress = statistics.unwatched) -> None:
        """Compute the statistics of some of the streams that these, or the source's, are made of."""
        own = self._source.source.statistics
        self._known.clear()
        if not isinstance(own, StatisticsTable):
            return
        whole = list(self._own({key: () for key in keys if not self._is_sliced(key)})[0])
        if whole:
            own.compute(whole, progress)
        for key in filter(self._is_sliced, keys):
            names = [name for name in self._own({key: ()})[0] if name not in whole]
            try:
                own.compute(names, progress)
            except DatasetError:  # where it is in what is read, it is said again
                self._computed[key] = self._exact(key, progress)
            whole += names

    def findings(self, needed: Needed, parts: Parts | None = None) -> list[Finding]:
        """Return problems of the stored statistics of the streams that these are made of."""
        own = self._source.source.statistics
        stored = {key: names for key, names in needed.items() if key not in self._computed}
        return own.findings(*self._own(stored, parts)) if isinstance(own, StatisticsTable) else []

    def _is_sliced(self, key: str) -> bool:
        return not all(part.is_whole for part in self._source.joined.get(key, ()))

    def _own(self, needed: Needed, parts: Parts | None = None) -> tuple[dict[str, tuple[str, ...]], Parts]:
        """What is asked for, as it is called in the source, and which dimensions of it, where not all."""
        source = self._source
        own: dict[str, tuple[str, ...]] = {}
        asked: dict[str, list[StreamPart]] = {}
        whole: set[str] = set()
        for key, names in needed.items():
            if key not in source.joined and key not in (parts or {}):
                read = [source.renamed.get(key, key)]
                whole.update(read)
            else:
                given = (parts or {}).get(key)
                pieces = source.joined[key] if given is None else [p for part in given for p in source.own_parts(part)]
                read = [piece.key for piece in pieces]
                for piece in pieces:
                    asked.setdefault(piece.key, []).append(piece)
            for name in read:
                own[name] = tuple(dict.fromkeys([*own.get(name, ()), *names]))
        sliced = {
            name: tuple(dict.fromkeys(pieces))
            for name, pieces in asked.items()
            if name not in whole and not any(piece.is_whole for piece in pieces)
        }
        return own, sliced

    def _of_parts(self, parts: Sequence[StreamPart]) -> dict[str, NDArray[np.float64]] | None:
        """Statistics put together from those of the parts; None where a part has none of its size."""
        own = self._source.source.statistics
        if not all(part.key in own for part in parts):
            return None
        try:
            entries = [own[part.key] for part in parts]
        except DatasetError:  # where it is in what is read, computing them says so
            return None
        names = [name for name in entries[0] if name != "count" and all(name in entry for entry in entries)]
        columns: dict[str, NDArray[np.float64]] = {}
        for name in names:
            flat = [np.asarray(entry[name], dtype=np.float64).reshape(-1) for entry in entries]
            if any(len(values) != part.size for values, part in zip(flat, parts, strict=True)):
                return None
            columns[name] = np.concatenate(
                [values[part.start : part.stop] for values, part in zip(flat, parts, strict=True)]
            )
        return columns | ({"count": np.asarray(entries[0]["count"])} if "count" in entries[0] else {}) or None

    def __iter__(self) -> Iterator[str]:
        own = self._source.source.statistics
        renamed = [key for key, name in self._source.renamed.items() if name in own]
        return iter(dict.fromkeys([*own, *renamed, *self._source.joined]))

    def __len__(self) -> int:
        return len(list(iter(self)))
