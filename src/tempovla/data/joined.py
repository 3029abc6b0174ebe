"""A source whose streams are joined from parts of another source's streams, or renamed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache, Caching
from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.fingerprint import content_hash, hash_json
from tempovla.data.identity import DataIdentity, identity_of
from tempovla.data.joined_statistics import JoinedStatistics
from tempovla.data.window import embodiment_of, episode_number, read_part, read_rows, step_numbers
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
        """Return the forms of the stream that is joined as `key`, the dataset's own names first; empty if none is
        joined.
        """


def forms_of(source: EpisodeSource, key: str) -> tuple[tuple[StreamPart, ...], ...]:
    """See `Joining`; empty for a source that joins nothing."""
    return source.forms(key) if isinstance(source, Joining) else ()


def recorded(source: EpisodeSource) -> EpisodeSource:
    """Return the source whose streams are those of the files, without the ones that were joined or renamed."""
    while isinstance(source, JoinedSource):
        source = source.source
    return source


def recorded_parts(source: EpisodeSource, key: str) -> tuple[StreamPart, ...]:
    """Return the parts of streams of `recorded(source)` that a stream of vectors is read from."""
    size = int(np.prod(source.streams[key].shape))
    parts: tuple[StreamPart, ...] = (StreamPart(key, size, 0, size),)
    while isinstance(source, JoinedSource):
        parts = tuple(own for part in parts for own in source.own_parts(part))
        source = source.source
    return parts


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
        """The source's own."""
        return self.source.cache if isinstance(self.source, Caching) else ByteCache(0)

    def with_cache(self, cache: ByteCache) -> JoinedSource:
        """Return the same streams of the source with another cache."""
        source = self.source.with_cache(cache) if isinstance(self.source, Caching) else self.source
        return JoinedSource(source, self.joined, self.renamed, self.left_out)

    def without(self, key: str) -> JoinedSource:
        """Return the same streams without a joined one; the streams that it hid reappear."""
        joined = {name: parts for name, parts in self.joined.items() if name != key}
        return JoinedSource(self.source, joined, self.renamed, self.left_out)

    def forms(self, key: str) -> tuple[tuple[StreamPart, ...], ...]:
        """Return the forms in which raw observations may hold the stream that is joined as `key`; see `Joining`.

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
        made, renamed, own = self._origins(keys)
        content = content_hash(self.source, sorted(own))
        return hash_json([content, made, renamed]) if made or renamed else content

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """That of the source's streams that these keys are made of, and how."""
        made, renamed, own = self._origins(keys)
        return identity_of(self.source, sorted(own)).with_facts({"made of": {**renamed, **made}})

    def _origins(self, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, str], set[str]]:
        """Of which parts streams are made, which are others under another name, and all that are read for them."""
        made = {key: [part.to_json() for part in self.joined[key]] for key in keys if key in self.joined}
        renamed = {key: self.renamed[key] for key in keys if key in self.renamed and key not in made}
        own = {key for key in keys if key not in made and key not in renamed}
        own |= {part.key for key in made for part in self.joined[key]} | {*renamed.values()}
        return made, renamed, own

    @property
    def name(self) -> str:
        """The source's own."""
        return self.source.name

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self.source.rate_hz

    @cached_property
    def embodiment(self) -> Embodiment:
        """The source's body, with the dimensions of what is called state and action here, and the cameras' names."""
        return self._renamed(self.source.embodiment)

    def embodiment_of(self, episode: int) -> Embodiment:
        """Return the body in one episode, with these dimensions and names, too; see `window.embodiment_of`."""
        own = embodiment_of(self.source, episode)
        return self.embodiment if own is self.source.embodiment else self._renamed(own)

    def origin(self, episode: int) -> tuple[EpisodeSource, int]:
        """Return the source, and the number of an episode there; see `window.origin_of`."""
        return self.source, episode

    def _renamed(self, body: Embodiment) -> Embodiment:
        known = {camera.stream: camera for camera in body.cameras}
        body = body.with_cameras(
            replace(known[name], stream=key) for key, name in self.renamed.items() if name in known
        )
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
        return JoinedStatistics(self)

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the pictures were made, where known."""
        return self.source.recording

    def __len__(self) -> int:
        return len(self.source)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length, instruction and task of one episode."""
        return self.source.episode(episode)

    def instructions(self, episode: int) -> Sequence[str]:
        """Return (length,) words of every control step."""
        return self.source.instructions(episode)

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples [s]; of a joined one, of its first part."""
        self._require(key)
        own = self.joined[key][0].key if key in self.joined else self.renamed.get(key, key)
        return self.source.timestamps(episode, own)

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        self._require(key)
        if key not in self.joined:
            return self.source.read(episode, self.renamed.get(key, key), steps)
        value, valid = self._join(key, self.joined[key], episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        self._require(key)
        if key not in self.joined:
            return read_rows(self.source, self.renamed.get(key, key), episodes, steps)
        return self._join(key, self.joined[key], episodes, steps)

    def read_part(self, part: StreamPart, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return some dimensions of a stream of vectors: value (B, T, width), valid (B, T); see `window.read_part`."""
        self._require(part.key)
        own = self.own_parts(part)
        if part.key not in self.joined:
            return read_part(self.source, own[0], episodes, steps)
        return self._join(part.key, own, episodes, steps)

    def own_parts(self, part: StreamPart) -> tuple[StreamPart, ...]:
        """Return what some dimensions of a stream that is offered are among those of the source."""
        if part.key not in self.joined:
            return (replace(part, key=self.renamed.get(part.key, part.key)),)
        own, before = [], 0
        for piece in self.joined[part.key]:
            start, stop = max(part.start - before, 0), min(part.stop - before, piece.width)
            if start < stop:
                own.append(replace(piece, start=piece.start + start, stop=piece.start + stop))
            before += piece.width
        return tuple(own)

    def _require(self, key: str) -> None:
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)

    def _join(
        self, key: str, parts: Sequence[StreamPart], episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Reading:
        """Values (B, T, width) of the source's parts, one beside the other, in the type of the joined stream."""
        dtype = np.dtype(self.streams[key].dtype)
        own = [read_part(self.source, part, episodes, steps) for part in parts]
        values = [self._cast(reading.value, dtype, part) for reading, part in zip(own, parts, strict=True)]
        valid = np.logical_and.reduce([reading.valid for reading in own])
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
