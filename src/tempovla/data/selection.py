"""Fewer episodes of a source, and shorter ones."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache, Caching
from tempovla.data.dataset_statistics import LazyStatistics
from tempovla.data.errors import DatasetError, OutOfRangeError
from tempovla.data.fingerprint import content_hash, hash_json
from tempovla.data.identity import DataIdentity, identity_of
from tempovla.data.window import embodiment_of, read_part, read_rows, step_numbers
from tempovla.data.words import episode_words
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeInfo, EpisodeSource, Reading, StreamInfo
from tempovla.timeline.task import Embodiment

LOGGER = logging.getLogger(__name__)


def select(source: EpisodeSource, demos_per_task: int | None = None, max_len_data: int | None = None) -> EpisodeSource:
    """Return the first episodes of every task, cut to a length; the source itself where that leaves nothing out.

    Args:
        source: where episodes come from.
        demos_per_task: at most so many of each task, or instruction where nothing names the task, or instructions where
            they change within episodes; all by default.
        max_len_data: steps beyond so many are left out [control steps]; none by default. What lies beyond the cut is
            as invalid as what lies beyond an episode's end, and how much is lost is logged.

    Raises:
        DatasetError: if a limit is not a positive whole number.
    """
    for name, limit in (("demos_per_task", demos_per_task), ("max_len_data", max_len_data)):
        if limit is not None and not _is_count(limit):
            raise DatasetError(
                f"{name} is {limit!r}; it must be positive and a whole number, or left out to keep everything"
            )
    infos = [source.episode(i) for i in range(len(source))]
    seen: Counter[str] = Counter()
    chosen = []
    for index, task in enumerate(_tasks(source, infos) if demos_per_task is not None else [""] * len(infos)):
        if demos_per_task is None or seen[task] < demos_per_task:
            seen[task] += 1
            chosen.append(index)
    lost = [infos[i].length - max_len_data for i in chosen if max_len_data and infos[i].length > max_len_data]
    if lost:
        LOGGER.warning(
            "%s: max_len_data %d cuts the ends of %d of %d episodes, %d of %d steps",
            source.name,
            max_len_data,
            len(lost),
            len(chosen),
            sum(lost),
            sum(infos[i].length for i in chosen),
        )
    if len(chosen) == len(infos) and not lost:
        return source
    return Selection(source, chosen, max_len_data)


def _is_count(limit: Any) -> bool:
    return isinstance(limit, Integral) and not isinstance(limit, bool) and int(limit) >= 1


def _tasks(source: EpisodeSource, infos: Sequence[EpisodeInfo]) -> list[str]:
    """What each episode's task is called: its name, else that of the only named task with its words, else the words."""
    told = [episode_words(source, index) for index in range(len(infos))]
    names: defaultdict[str, set[str]] = defaultdict(set)
    for info, words in zip(infos, told, strict=True):
        if info.task:
            names[words].add(info.task)
    only = {words: next(iter(tasks)) for words, tasks in names.items() if len(tasks) == 1}
    return [info.task or only.get(words, words) for info, words in zip(infos, told, strict=True)]


class Selection:
    """An `EpisodeSource` of some episodes of another one.

    Args:
        source: where they come from.
        episodes: which, in the order in which they are counted here.
        max_length: steps beyond so many are left out; none by default.
    """

    def __init__(self, source: EpisodeSource, episodes: Sequence[int], max_length: int | None = None) -> None:
        self._source = source
        self._episodes = np.array(episodes, dtype=np.int64)
        self._max_length = max_length
        infos = [source.episode(int(i)) for i in self._episodes]
        self._infos = [replace(info, length=min(info.length, max_length or info.length)) for info in infos]

    @property
    def cache(self) -> ByteCache:
        """The source's own."""
        return self._source.cache if isinstance(self._source, Caching) else ByteCache(0)

    def with_cache(self, cache: ByteCache) -> Selection:
        """Return the same selection of the source with another cache."""
        source = self._source.with_cache(cache) if isinstance(self._source, Caching) else self._source
        other = copy(self)
        other._source = source
        return other

    def content_hash(self, keys: Collection[str]) -> str:
        """Of the source's contents and the choice; see `ContentHashing`."""
        return hash_json([content_hash(self._source, keys), self._episodes.tolist(), self._max_length])

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """That of the source, and the choice."""
        chosen = {"episodes": len(self), "chosen episodes": hash_json(self._episodes.tolist())}
        return identity_of(self._source, keys).with_facts(chosen | {"data.max_len_data": self._max_length})

    def origin(self, episode: int) -> tuple[EpisodeSource, int]:
        """Return the source, and the number of an episode there; see `window.origin_of`."""
        self.episode(episode)
        return self._source, int(self._episodes[episode])

    @property
    def name(self) -> str:
        """The source's own."""
        return self._source.name

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self._source.rate_hz

    @property
    def embodiment(self) -> Embodiment:
        """The body that was recorded."""
        return self._source.embodiment

    def embodiment_of(self, episode: int) -> Embodiment:
        """Return the body in one episode; see `window.embodiment_of`."""
        self.episode(episode)
        return embodiment_of(self._source, int(self._episodes[episode]))

    @property
    def streams(self) -> Mapping[str, StreamInfo]:
        """The streams by key."""
        return self._source.streams

    @cached_property
    def statistics(self) -> LazyStatistics:
        """Exact statistics of the streams of numbers, over what was selected."""
        return LazyStatistics(self)

    @property
    def recording(self) -> Mapping[str, Any]:
        """How the pictures were made, where known."""
        return self._source.recording

    def __len__(self) -> int:
        return len(self._episodes)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length, as cut, instruction and task of one episode."""
        if not 0 <= episode < len(self):
            raise OutOfRangeError(f"{self.name}: no episode {episode} in the selection of {len(self)}, counted from 0")
        return self._infos[episode]

    def instructions(self, episode: int) -> Sequence[str]:
        """Return (length,) words of every control step up to the cut."""
        length = self.episode(episode).length
        return self._source.instructions(int(self._episodes[episode]))[:length]

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (N,) times of the stream's samples up to the cut [s]."""
        length = self.episode(episode).length
        times_s = self._source.timestamps(int(self._episodes[episode]), key)
        return times_s[times_s < (length - 0.5) / self.rate_hz]

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        last = self.episode(episode).length - 1
        asked = step_numbers(steps)
        value, valid = self._source.read(int(self._episodes[episode]), key, np.minimum(asked, last).tolist())
        return Reading(value, valid & (asked <= last))

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        last = np.array([self.episode(episode).length - 1 for episode in episodes.tolist()])[:, None]
        value, valid = read_rows(self._source, key, self._episodes[episodes], np.minimum(steps, last))
        return Reading(value, valid & (steps <= last))

    def read_part(self, part: StreamPart, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return some dimensions of a stream of vectors: value (B, T, width), valid (B, T); see `window.read_part`."""
        last = np.array([self.episode(episode).length - 1 for episode in episodes.tolist()])[:, None]
        value, valid = read_part(self._source, part, self._episodes[episodes], np.minimum(steps, last))
        return Reading(value, valid & (steps <= last))
