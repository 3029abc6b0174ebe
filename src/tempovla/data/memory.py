"""Episodes in memory: preloaded small datasets, and streams built in code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data import statistics
from tempovla.data.byte_cache import ByteCache, Caching
from tempovla.data.errors import DatasetError, OutOfRangeError, unknown_stream
from tempovla.data.fingerprint import content_hash, hash_arrays, hash_json
from tempovla.data.identity import DataIdentity, hash_of_arrays, identity_of, stream_facts
from tempovla.data.joined import forms_of
from tempovla.data.window import embodiment_of, episode_number, step_numbers
from tempovla.timeline.clock import latest_at
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeInfo, EpisodeSource, Reading, Statistics, StreamInfo
from tempovla.timeline.task import Embodiment

_READ_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class MemoryEpisode:
    """One episode's arrays.

    Attributes:
        instruction: the same at all control steps, or (length,) one for each.
        length: number of control steps.
        values: array (N, *F) by stream; N is `length` for streams on the control clock.
        timestamps: (N,) times [s] since the episode's start of the streams that have a clock of their own.
    """

    instruction: str | Sequence[str]
    length: int
    values: Mapping[str, NDArray]
    timestamps: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


class MemorySource:
    """An `EpisodeSource` whose streams are one array each, so that a batch is one indexing operation.

    Args:
        name: for messages.
        embodiment: the body; its rate is the control rate.
        streams: types of the streams; streams with timestamps may have a rate of their own.
        episodes: at least one, each with all the streams.
        stats: statistics; computed from the streams of numbers where left out.
        recording: how the pictures were made, where known.
    """

    def __init__(
        self,
        name: str,
        embodiment: Embodiment,
        streams: Mapping[str, StreamInfo],
        episodes: Sequence[MemoryEpisode],
        stats: Statistics | None = None,
        recording: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.recording = dict(recording or {})
        self.embodiment = embodiment
        self.streams = dict(streams)
        self._words = [_by_step(name, episode) for episode in episodes]
        self._infos = [
            EpisodeInfo(episode.length, words if isinstance(words, str) else words[0])
            for episode, words in zip(episodes, self._words, strict=True)
        ]
        self._lengths = np.array([episode.length for episode in episodes], dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._values = {key: np.concatenate([episode.values[key] for episode in episodes]) for key in streams}
        self._clocks: dict[str, list[NDArray[np.float64]]] = {}
        self._rows: dict[str, NDArray[np.int64]] = {}
        self._fresh: dict[str, NDArray[np.bool_]] = {}
        for key, stream in streams.items():
            clocks = [episode.timestamps.get(key) for episode in episodes]
            if any(clock is not None for clock in clocks):
                self._set_clock(key, stream.rate_hz, [np.asarray(clock, dtype=np.float64) for clock in clocks])
            elif any(len(episode.values[key]) != episode.length for episode in episodes):
                raise DatasetError(f"{name}: {key!r} has no timestamps, so it needs one value for each control step")
        if stats is None:
            numbers = [key for key, stream in streams.items() if stream.has_statistics]
            stats = {key: statistics.of_values(self._values[key]) for key in numbers}
        self.statistics = stats

    def _set_clock(self, key: str, rate_hz: float, clocks: list[NDArray[np.float64]]) -> None:
        """Resolve once, for every control step, which sample of the stream it reads and whether that is fresh."""
        rows, fresh, first = [], [], 0
        for length, clock in zip(self._lengths.tolist(), clocks, strict=True):
            asked_s = np.arange(length) / self.rate_hz
            index, valid = latest_at(clock, asked_s, tolerance_s=1.0 / min(rate_hz, self.rate_hz))
            rows.append(first + index)
            fresh.append(valid)
            first += len(clock)
        self._clocks[key] = clocks
        self._rows[key], self._fresh[key] = np.concatenate(rows), np.concatenate(fresh)

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self.embodiment.rate_hz

    def __len__(self) -> int:
        return len(self._lengths)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length and instruction of one episode."""
        self._require_episode(episode)
        return self._infos[episode]

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return (length,) words of every control step."""
        self._require_episode(episode)
        words = self._words[episode]
        return (words,) * self._infos[episode].length if isinstance(words, str) else words

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples [s] since the episode's start."""
        self._require_episode(episode)
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)
        if key in self._clocks:
            return self._clocks[key][episode]
        return np.arange(self._lengths[episode]) / self.rate_hz

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        self._require_episode(episode)
        value, valid = self.read_many(key, episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)
        last = self._lengths[episodes, None] - 1
        valid = (steps >= 0) & (steps <= last)
        rows = np.clip(steps, 0, last) + self._starts[episodes, None]
        if key in self._fresh:
            valid &= self._fresh[key][rows]
        if key in self._rows:
            rows = self._rows[key][rows]
        return Reading(np.take(self._values[key], rows, axis=0), valid)

    def content_hash(self, keys: Collection[str]) -> str:
        """Hash of the arrays, and of the rows that are read at each step; see `ContentHashing`."""
        return hash_arrays(self._arrays(keys))

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """Of the arrays and the words; there are no files."""
        facts = {"words": hash_json(self._words), "contents": hash_of_arrays(self._arrays(keys))}
        return DataIdentity(self.name, stream_facts(self, keys) | facts)

    def _arrays(self, keys: Collection[str]) -> dict[str, NDArray]:
        arrays: dict[str, NDArray] = {"lengths": self._lengths}
        for part, table in {"values": self._values, "rows": self._rows, "fresh": self._fresh}.items():
            arrays |= {f"{part} {key}": table[key] for key in keys if key in table}
        return arrays

    def _require_episode(self, episode: int) -> None:
        if not 0 <= episode < len(self):
            raise OutOfRangeError(f"{self.name}: no episode {episode}; it has {len(self)}, counted from 0")


def _by_step(name: str, episode: MemoryEpisode) -> str | tuple[str, ...]:
    if isinstance(episode.instruction, str):
        return episode.instruction
    if len(episode.instruction) != episode.length:
        raise DatasetError(
            f"{name}: {len(episode.instruction)} instructions for an episode of {episode.length} steps; give one for "
            "each step"
        )
    return tuple(episode.instruction)


class StepSource(MemorySource):
    """The episodes of another source, with streams that have one value for each of their control steps.

    Args:
        source: whose episodes these are.
        streams: what the streams hold: those of `source` as they are read, or others made from them.
        values: array (N, *F) by stream, over the N control steps of all episodes in order.
        valid: (N,) by stream.
        made_from: streams of `source` that those are made from which it does not have.
    """

    def __init__(
        self,
        source: EpisodeSource,
        streams: Mapping[str, StreamInfo],
        values: Mapping[str, NDArray],
        valid: Mapping[str, NDArray[np.bool_]],
        made_from: Collection[str] = (),
    ) -> None:
        self.name, self.embodiment, self.statistics = source.name, source.embodiment, source.statistics
        self.recording = dict(source.recording)
        self.streams = dict(streams)
        self._source, self._values, self._made_from = source, dict(values), tuple(made_from)
        self._infos = [source.episode(i) for i in range(len(source))]
        self._lengths = np.array([info.length for info in self._infos], dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._rows, self._clocks = {}, {}
        self._fresh = {key: mask for key, mask in valid.items() if not mask.all()}

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return (length,) words of every control step: those of the source."""
        return tuple(self._source.instructions(episode))

    def embodiment_of(self, episode: int) -> Embodiment:
        """Return the body in one episode; see `window.embodiment_of`."""
        return embodiment_of(self._source, episode)

    def origin(self, episode: int) -> tuple[EpisodeSource, int]:
        """Return the source, and the number of an episode there; see `window.origin_of`."""
        return self._source, episode

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples [s] since the episode's start."""
        if key in self._source.streams:
            return self._source.timestamps(episode, key)
        return super().timestamps(episode, key)

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """That of the source, as far as it was read for these streams."""
        own = {key for key in keys if key in self._source.streams}
        return identity_of(self._source, own | {*self._made_from})

    def forms(self, key: str) -> tuple[tuple[StreamPart, ...], ...]:
        """Return forms in which raw observations hold a stream that the source joined; see `Joining`."""
        return forms_of(self._source, key)


class PreloadedSource(StepSource):
    """Streams of another source as they are read."""

    def content_hash(self, keys: Collection[str]) -> str:
        """That of the source, so that it does not matter whether it was preloaded."""
        return content_hash(self._source, keys)


def preload(source: EpisodeSource, keys: Collection[str], max_bytes: int) -> EpisodeSource:
    """Return the streams `keys` of a source in memory if they fit in `max_bytes`, else the source itself."""
    reader: EpisodeSource = source
    if isinstance(source, Caching):  # frames are read once: a cache of all of them would double the memory
        reader = source.with_cache(ByteCache(_READ_CACHE_BYTES))
    infos = [reader.episode(i) for i in range(len(source))]
    steps = sum(info.length for info in infos)
    streams = {key: source.streams[key] for key in keys}
    size = sum(steps * int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in streams.values())
    if size > max_bytes or isinstance(source, MemorySource):
        return source
    values = {key: np.empty((steps, *stream.shape), dtype=stream.dtype) for key, stream in streams.items()}
    valid = {key: np.empty(steps, dtype=bool) for key in streams}
    first = 0
    for episode, info in enumerate(infos):
        here = slice(first, first + info.length)
        for key in streams:
            values[key][here], valid[key][here] = reader.read(episode, key, range(info.length))
        first += info.length
    return PreloadedSource(source, streams, values, valid)
