"""A source with streams that are joined from parts of its own, or are its own under another name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data import statistics
from tempovla.data.byte_cache import ByteCache, Caching
from tempovla.data.dataset_statistics import Needed, StatisticsTable, StreamStatistics
from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.fingerprint import content_hash, hash_json
from tempovla.data.plausibility import Finding
from tempovla.data.window import read_rows
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import (
    EpisodeInfo,
    EpisodeSource,
    Reading,
    Statistics,
    StreamInfo,
    StreamKind,
    StreamTable,
)
from tempovla.timeline.task import Embodiment

LARGEST_EXACT = 1 << 24
"""Whole numbers up to this are float32 without loss."""


@runtime_checkable
class Joining(Protocol):
    """A source that can tell in which forms raw observations hold a stream that it joins."""

    def forms(self, key: str) -> tuple[tuple[StreamPart, ...], ...]:
        """Forms of what is joined as `key`, the dataset's own names first; empty where nothing is."""


def forms_of(source: EpisodeSource, key: str) -> tuple[tuple[StreamPart, ...], ...]:
    """See `Joining`; empty for a source that joins nothing."""
    return source.forms(key) if isinstance(source, Joining) else ()


def recorded(source: EpisodeSource) -> EpisodeSource:
    """The source whose streams are those of the files, without the ones that were joined or renamed."""
    while isinstance(source, JoinedSource):
        source = source.source
    return source


class JoinedSource:
    """An `EpisodeSource` that offers another one's streams and more: joined vectors, and other names.

    Args:
        source: whose episodes these are.
        joined: by key of a stream to offer, the parts that it is joined from, in order. A stream of the source that
            has the same key is hidden by it. Numbers of different types, and whole numbers, become float32.
        renamed: by key of a stream to offer, the source's stream that it is.
        left_out: why streams that are described are not there, by key, or by what stands before the first dot of such
            keys.
    """

    def __init__(
        self,
        source: EpisodeSource,
        joined: Mapping[str, tuple[StreamPart, ...]],
        renamed: Mapping[str, str] | None = None,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        self.source, self.joined = source, dict(joined)
        self.renamed, self.left_out = dict(renamed or {}), dict(left_out or {})

    @property
    def cache(self) -> ByteCache:
        """That of the source."""
        return self.source.cache if isinstance(self.source, Caching) else ByteCache(0)

    def with_cache(self, cache: ByteCache) -> JoinedSource:
        """The same streams of the source with another cache."""
        source = self.source.with_cache(cache) if isinstance(self.source, Caching) else self.source
        return JoinedSource(source, self.joined, self.renamed, self.left_out)

    def without(self, key: str) -> JoinedSource:
        """The same streams but for a joined one; what it hid is seen again."""
        joined = {name: parts for name, parts in self.joined.items() if name != key}
        return JoinedSource(self.source, joined, self.renamed, self.left_out)

    def forms(self, key: str) -> tuple[tuple[StreamPart, ...], ...]:
        """Forms in which raw observations may hold what is joined as `key`; see `Joining`.

        After the names that were joined come those of the columns that they are of, then the joined stream itself,
        unless the dataset has another one that is called so.
        """
        if key not in self.joined:
            return ()
        own = self.joined[key]
        forms = [own]
        columns = tuple(self._column(part) for part in own)
        if columns != own:
            forms.append(columns)
        if key not in self.source.streams:
            width = sum(part.width for part in own)
            forms.append((StreamPart(key, width, 0, width),))
        return tuple(forms)

    def _column(self, part: StreamPart) -> StreamPart:
        """A part of a stream that the source made itself as a part of what that was made from."""
        if not isinstance(self.source, JoinedSource):
            return part
        if part.key in self.source.renamed:
            return replace(part, key=self.source.renamed[part.key])
        made = self.source.joined.get(part.key, ())
        if len(made) != 1:
            return part
        (whole,) = made
        return StreamPart(whole.key, whole.size, whole.start + part.start, whole.start + part.stop)

    def content_hash(self, keys: Collection[str]) -> str:
        """Of the source's streams that these keys are made of, and how; see `ContentHashing`."""
        made = {key: [part.to_json() for part in self.joined[key]] for key in keys if key in self.joined}
        renamed = {key: self.renamed[key] for key in keys if key in self.renamed and key not in made}
        own = {key for key in keys if key not in made and key not in renamed}
        own |= {part.key for key in made for part in self.joined[key]} | {*renamed.values()}
        content = content_hash(self.source, sorted(own))
        return hash_json([content, made, renamed]) if made or renamed else content

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self.source.rate_hz

    @cached_property
    def embodiment(self) -> Embodiment:
        """The source's body, with the dimensions of what is called state and action here."""
        body = self.source.embodiment
        if STATE_KEY in self.joined:
            state = self.streams[STATE_KEY]
            body = replace(body, state_dim=state.shape[0], state_names=state.names)
        if ACTION_KEY in self.joined:
            action = self.streams[ACTION_KEY]
            body = replace(body, action_dim=action.shape[0], action_names=action.names)
        return body

    @cached_property
    def streams(self) -> Mapping[str, StreamInfo]:
        """The source's streams, the joined ones and those with other names."""
        own = self.source.streams
        joined = {key: _joined_info(key, parts, own) for key, parts in self.joined.items()}
        streams = {**own, **{key: own[name] for key, name in self.renamed.items()}, **joined}
        left_out = {**(own.left_out if isinstance(own, StreamTable) else {}), **self.left_out}
        return StreamTable(streams, {key: why for key, why in left_out.items() if key not in streams})

    @cached_property
    def statistics(self) -> Statistics:
        """The source's; of joined streams its parts', or computed where a part has none."""
        return _JoinedStatistics(self)

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the pictures were made, where known."""
        return self.source.recording

    def __len__(self) -> int:
        return len(self.source)

    def episode(self, episode: int) -> EpisodeInfo:
        """Length, instruction and task of one episode."""
        return self.source.episode(episode)

    def instructions(self, episode: int) -> Sequence[str]:
        """(length,) words of every control step."""
        return self.source.instructions(episode)

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """(N,) times of the stream's samples [s]; of a joined one, of its first part."""
        self._require(key)
        own = self.joined[key][0].key if key in self.joined else self.renamed.get(key, key)
        return self.source.timestamps(episode, own)

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Values of one stream at absolute control steps; see `EpisodeSource.read`."""
        self._require(key)
        if key not in self.joined:
            return self.source.read(episode, self.renamed.get(key, key), steps)
        parts = self.joined[key]
        own = {name: self.source.read(episode, name, steps) for name in dict.fromkeys(part.key for part in parts)}
        return self._join(key, own)

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        self._require(key)
        if key not in self.joined:
            return read_rows(self.source, self.renamed.get(key, key), episodes, steps)
        names = dict.fromkeys(part.key for part in self.joined[key])
        return self._join(key, {name: read_rows(self.source, name, episodes, steps) for name in names})

    def _require(self, key: str) -> None:
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)

    def _join(self, key: str, own: Mapping[str, Reading]) -> Reading:
        """The joined stream of readings (..., T, *F) of the source's streams."""
        dtype = np.dtype(self.streams[key].dtype)
        values = []
        for part in self.joined[key]:
            value = own[part.key].value
            value = value if self.source.streams[part.key].shape else value[..., None]
            values.append(self._cast(value[..., part.start : part.stop], dtype, part))
        valid = np.logical_and.reduce([reading.valid for reading in own.values()])
        return Reading(values[0] if len(values) == 1 else np.concatenate(values, axis=-1), valid)

    def _cast(self, value: NDArray[Any], dtype: np.dtype[Any], part: StreamPart) -> NDArray[Any]:
        if value.dtype == dtype:
            return value
        largest = LARGEST_EXACT if value.dtype.kind in "iu" else float(np.finfo(dtype).max)
        beyond = np.abs(value[np.isfinite(value)].astype(np.float64)) > largest
        if beyond.any():
            bad = value[np.isfinite(value)][beyond][0]
            raise DatasetError(
                f"{self.name}: {part} holds {bad}, which is lost in float32, as streams of several types are joined; "
                "leave it out of the key that joins them, or store smaller numbers"
            )
        return value.astype(dtype)


class _JoinedStatistics(Mapping[str, Mapping[str, NDArray[np.float64]]]):
    """Statistics that are put together when they are asked for; see `StatisticsTable` for what they can do."""

    def __init__(self, source: JoinedSource) -> None:
        self._source = source
        self._known: dict[str, Mapping[str, NDArray[np.float64]]] = {}

    def __getitem__(self, key: str) -> Mapping[str, NDArray[np.float64]]:
        source = self._source
        if key not in source.joined:
            return source.source.statistics[source.renamed.get(key, key)]
        if key not in self._known:
            parts = self._of_parts(source.joined[key])
            exact = partial(self._exact, key)
            self._known[key] = exact() if parts is None else StreamStatistics(parts, exact)
        return self._known[key]

    def _exact(self, key: str) -> dict[str, NDArray[np.float64]]:
        return statistics.compute(self._source, [key])[key]

    def absent(self, needed: Needed) -> list[str]:
        """Of the source's streams that these are made of, those that are still to be computed."""
        own = self._source.source.statistics
        return own.absent(self._own(needed)) if isinstance(own, StatisticsTable) else []

    def compute(self, keys: Collection[str], progress: statistics.Progress = statistics.unwatched) -> None:
        """Compute the statistics of some of the streams that these, or the source's, are made of."""
        own = self._source.source.statistics
        if isinstance(own, StatisticsTable):
            own.compute(list(self._own(dict.fromkeys(keys, ()))), progress)
        self._known.clear()

    def findings(self, needed: Needed) -> list[Finding]:
        """What is wrong with stored statistics of the streams that these are made of."""
        own = self._source.source.statistics
        return own.findings(self._own(needed)) if isinstance(own, StatisticsTable) else []

    def _own(self, needed: Needed) -> dict[str, tuple[str, ...]]:
        """What is asked for, as it is called in the source."""
        own: dict[str, tuple[str, ...]] = {}
        for key, names in needed.items():
            parts = [part.key for part in self._source.joined.get(key, ())]
            for name in parts or [self._source.renamed.get(key, key)]:
                own[name] = tuple(dict.fromkeys([*own.get(name, ()), *names]))
        return own

    def _of_parts(self, parts: Sequence[StreamPart]) -> dict[str, NDArray[np.float64]] | None:
        """Statistics put together from those of the parts; None where a part has none of its size."""
        own = self._source.source.statistics
        if not all(part.key in own for part in parts):
            return None
        entries = [own[part.key] for part in parts]
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


def _joined_info(key: str, parts: Sequence[StreamPart], own: Mapping[str, StreamInfo]) -> StreamInfo:
    infos = [own[part.key] for part in parts]
    dtypes = {info.dtype for info in infos}
    dtype = infos[0].dtype if len(dtypes) == 1 and np.dtype(infos[0].dtype).kind == "f" else "float32"
    names: list[str] = []
    if any(info.names for info in infos):
        for part, info in zip(parts, infos, strict=True):
            known = info.names if len(info.names) == part.size else _numbered(part)
            names += known[part.start : part.stop]
    width = sum(part.width for part in parts)
    return StreamInfo(_kind(key, infos[0].kind), (width,), dtype, infos[0].rate_hz, tuple(names))


def _numbered(part: StreamPart) -> tuple[str, ...]:
    """Names of dimensions that have none."""
    return (part.key,) if part.size == 1 else tuple(f"{part.key}[{index}]" for index in range(part.size))


def _kind(key: str, own: StreamKind) -> StreamKind:
    """What a joined stream is: by its key, else what its first part is."""
    for prefix, kind in ((ACTION_KEY, "action"), (STATE_KEY, "state"), ("state", "state")):
        if key == prefix or key.startswith(f"{prefix}."):
            return kind  # type: ignore[return-value]
    return own
