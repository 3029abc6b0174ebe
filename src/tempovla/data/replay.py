"""A dataset that grows while it is sampled, for learning online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tempovla.data import replay_files
from tempovla.data.byte_cache import ByteCache
from tempovla.data.errors import DatasetError, OutOfRangeError, unknown_stream
from tempovla.data.replay_files import DESCRIPTION, Description, Words, episode_path
from tempovla.data.replay_rows import ReplayRows
from tempovla.data.statistics import Statistic, aggregate, of_values
from tempovla.data.window import episode_number, step_numbers
from tempovla.storage.lock import FolderLock, Lock
from tempovla.storage.problems import problems_of
from tempovla.storage.whole import sync
from tempovla.timeline.source import EpisodeInfo, Reading, Statistics, StreamInfo
from tempovla.timeline.task import Embodiment

DEFAULT_MEMORY_BYTES = 2 << 30
_EVICTED_BYTES = 64 << 20
_REMEDY = "let it end, or choose another folder"


class ReplaySource:
    """An `EpisodeSource` of whole episodes, to which more are appended.

    An episode has a number for good. Each is a file, and the newest ones are in memory as well; older ones are read
    from their files again. Make one by `create` or `open`, and end it by `close`, or use it as a context.

    Statistics are those of all episodes, kept for each episode as it is appended and merged when they are asked for:
    count, mean, deviation and extremes are exact, and quantiles are means of the episodes' quantiles weighted by
    length.

    Args:
        folder: that holds the files.
        description: what `replay.json` says.
        max_bytes: memory of the episodes that are kept in memory [bytes].
        capacity: control steps of the newest episodes that are sampled; older ones stay readable under their numbers.
            None samples all.
        lock: held while episodes may be appended; None where they may not.
    """

    def __init__(
        self, folder: Path, description: Description, *, max_bytes: int, capacity: int | None, lock: Lock | None
    ) -> None:
        self.folder, self.capacity = folder, capacity
        self.embodiment, self.streams, self.facts = description.embodiment, description.streams, description.facts
        self._lock = lock
        rows = max_bytes // description.row_bytes
        self._rows = ReplayRows(self.streams, rows if capacity is None else min(rows, capacity))
        self._is_filled = True
        self._evicted = ByteCache(_EVICTED_BYTES)
        self._words: list[Words] = []
        self._stats: list[dict[str, Statistic] | None] = []
        self._merged: tuple[int, Statistics] | None = None
        self._lengths = np.zeros(64, np.int64)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        streams: Mapping[str, StreamInfo],
        rate_hz: float,
        embodiment: Embodiment,
        facts: Mapping[str, Any],
        *,
        max_bytes: int = DEFAULT_MEMORY_BYTES,
        capacity: int | None = None,
    ) -> Self:
        """Begin a replay in an empty or missing folder, and hold its lock.

        Args:
            folder: where the files will be.
            streams: types of the streams, all at the control rate.
            rate_hz: control rate [Hz].
            embodiment: the body that acts.
            facts: how episodes come about, such as the simulator and the task, as plain JSON values.
            max_bytes: see the class.
            capacity: see the class.

        Raises:
            DatasetError: if the folder holds something, somebody else writes there, or a stream cannot be kept.
            NotWrittenError: if the disk does not take the files.
        """
        folder = Path(folder)
        description = Description(dict(streams), replace(embodiment, rate_hz=float(rate_hz)), dict(facts))
        description.check(str(folder))
        _check_limits(max_bytes, capacity)
        lock = _locked(folder)
        try:
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                told = "a replay is there; open it" if (folder / DESCRIPTION).exists() else "it is not empty"
                raise DatasetError(f"{folder}: {told}, or give another folder")
            replay_files.write_description(folder, description)
            description = replay_files.read_description(folder)
        except (OSError, ValueError):
            lock.release()
            raise
        return cls(folder, description, max_bytes=max_bytes, capacity=capacity, lock=lock)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        facts: Mapping[str, Any] | None = None,
        streams: Mapping[str, StreamInfo] | None = None,
        *,
        max_bytes: int = DEFAULT_MEMORY_BYTES,
        capacity: int | None = None,
        read_only: bool = False,
    ) -> Self:
        """Go on with the replay in a folder.

        Args:
            folder: where the files are.
            facts: which must be those of the replay; None takes any.
            streams: whose shapes and types must be those of the replay; None takes any.
            max_bytes: see the class.
            capacity: see the class.
            read_only: append nothing, and do not mind that somebody else does.

        Raises:
            DatasetError: if there is none, it holds episodes of other facts or streams, a file is damaged, or somebody
                else appends to it.
        """
        folder = Path(folder)
        _check_limits(max_bytes, capacity)
        if not (folder / DESCRIPTION).exists():
            raise DatasetError(f"{folder}: has no {DESCRIPTION}, so it is no replay; create one there")
        lock = None if read_only else _locked(folder)
        try:
            description = replay_files.read_description(folder)
            replay_files.refuse_others(str(folder), description.facts, description.facts if facts is None else facts)
            if streams is not None:
                replay_files.refuse_other_streams(str(folder), description.streams, streams)
            source = cls(folder, description, max_bytes=max_bytes, capacity=capacity, lock=lock)
            for episode in range(replay_files.count_episodes(folder)):
                source._take_in(*replay_files.read_header(episode_path(folder, episode), description.streams), None)
            source._is_filled = len(source) == 0
        except (OSError, ValueError):
            if lock is not None:
                lock.release()
            raise
        return source

    def close(self) -> None:
        """Let others append. What was read stays readable."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, frames: Mapping[str, NDArray[Any]], instruction: str | Sequence[str]) -> int:
        """Write one episode; when this returns, it is on the disk.

        Args:
            frames: array (T, *shape) of every stream, T at least 1. Numbers of another type than the stream's are taken
                where they are the same in it; floats may be rounded.
            instruction: the words, or one text for every step.

        Returns:
            The episode's number.

        Raises:
            DatasetError: naming the stream, the episode and the step, if one is missing, has another shape or type, or
                is not finite.
            NotWrittenError: if the disk does not take it; the episodes before are safe.
        """
        self._require_lock()
        number = len(self)
        where = f"{self.folder}: episode {number}"
        arrays, length = replay_files.frames_given(where, frames, self.streams)
        words = replay_files.words_given(where, instruction, length)
        self._fill()
        replay_files.write_episode(episode_path(self.folder, number), arrays, length, words)
        self._rows.add(arrays, length)
        self._take_in(length, words, self._statistics_of(arrays))
        return number

    def truncate(self, count: int) -> None:
        """Remove the newest episodes for good, so that `count` are left, as there were at an earlier time.

        Raises:
            DatasetError: if there are fewer.
            NotWrittenError: if the disk does not let go of them.
        """
        self._require_lock()
        if not 0 <= count <= len(self):
            raise DatasetError(f"{self.folder}: cannot go back to {count} episodes; it has {len(self)}")
        self._evicted, self._merged = ByteCache(_EVICTED_BYTES), None
        with problems_of(self.folder, what="newest episodes not removed"):
            for episode in reversed(range(count, len(self))):  # a kill in between leaves no gap
                episode_path(self.folder, episode).unlink(missing_ok=True)
                del self._words[episode], self._stats[episode]
            sync(self.folder)
        self._rows.truncate(min(count, len(self._rows)))
        self._is_filled = count == 0 or (
            self._is_filled and bool((self._rows.places(np.arange(self.first_sampled, count)) >= 0).all())
        )

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self.embodiment.rate_hz

    @property
    def recording(self) -> Mapping[str, Any]:
        """The facts."""
        return self.facts

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) control steps of all episodes."""
        return self._lengths[: len(self)]

    @property
    def first_sampled(self) -> int:
        """Number of the oldest episode that is sampled."""
        return self.first_sampled_of(len(self))

    def first_sampled_of(self, count: int) -> int:
        """Return the number of the oldest episode that was sampled when there were `count`.

        As many of the newest are as have no more steps than `capacity`, and the newest one in any case.
        """
        if self.capacity is None or count == 0:
            return 0
        newest_first = np.cumsum(self._lengths[:count][::-1])
        return count - max(1, int(np.searchsorted(newest_first, self.capacity, side="right")))

    @property
    def statistics(self) -> Statistics:
        """Statistics of the streams of numbers; see the class. Empty without episodes."""
        if self._merged is None or self._merged[0] != len(self):
            for episode, known in enumerate(self._stats):
                if known is None:
                    self._stats[episode] = self._statistics_of(self._read_file(episode))
            parts = [entry for entry in self._stats if entry is not None]
            self._merged = len(self), aggregate(parts)
        return self._merged[1]

    def __len__(self) -> int:
        return len(self._words)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length and first instruction of one episode."""
        self._require_episode(episode)
        words = self._words[episode]
        origin = str(episode_path(self.folder, episode))
        return EpisodeInfo(
            int(self._lengths[episode]),
            words if isinstance(words, str) else words[0],
            str(self.facts.get("task", "")),
            origin,
        )

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return (length,) words of every control step."""
        self._require_episode(episode)
        words = self._words[episode]
        return (words,) * int(self._lengths[episode]) if isinstance(words, str) else words

    def words_at(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> list[str]:
        """Return (B,) words of control steps (B,) of episodes (B,)."""
        told = [self._words[episode] for episode in episodes.tolist()]
        return [
            words if isinstance(words, str) else words[step] for words, step in zip(told, steps.tolist(), strict=True)
        ]

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (length,) times of the steps [s] since the episode's start."""
        self._require_episode(episode)
        self._require_stream(key)
        return np.arange(self._lengths[episode]) / self.rate_hz

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        self._require_stream(key)
        self._require_episode(episode)
        value, valid = self.read_many(key, episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        self._require_stream(key)
        self._fill()
        last = self._lengths[episodes, None] - 1
        clamped = np.clip(steps, 0, last)
        valid = clamped == steps
        places = self._rows.places(episodes)
        absent = np.flatnonzero(places < 0)
        if not len(absent):
            return Reading(self._rows.take(key, places, clamped), valid)
        stream = self.streams[key]
        value = np.empty((*steps.shape, *stream.shape), stream.dtype)
        here = np.flatnonzero(places >= 0)
        if len(here):
            value[here] = self._rows.take(key, places[here], clamped[here])
        for row in absent.tolist():
            value[row] = self._evicted_values(int(episodes[row]), key)[clamped[row]]
        return Reading(value, valid)

    def _evicted_values(self, episode: int, key: str) -> NDArray[Any]:
        """(T, *shape) of an episode that is not in memory any more."""
        found = self._evicted.get((episode, key))
        if found is None:
            arrays = self._read_file(episode)
            for name, values in arrays.items():
                if self._evicted.get((episode, name)) is None:
                    self._evicted.put((episode, name), values)
            found = arrays[key]
        return found

    def _read_file(self, episode: int) -> dict[str, NDArray[Any]]:
        return replay_files.read_arrays(episode_path(self.folder, episode), self.streams)

    def _fill(self) -> None:
        """Bring into memory what fits of the episodes that were there when the folder was opened, or went back."""
        if self._is_filled:
            return
        newest_first = np.cumsum(self.lengths[::-1])
        first = len(self) - int(np.searchsorted(newest_first, self._rows.rows, side="right"))
        self._rows.clear()
        self._rows.skip(first)
        for episode in range(first, len(self)):
            self._rows.add(self._read_file(episode), int(self._lengths[episode]))
        self._is_filled = True

    def _take_in(self, length: int, words: Words, stats: dict[str, Statistic] | None) -> None:
        """Count an episode that is on the disk."""
        number = len(self)
        if number == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._lengths[number] = length
        self._words.append(words)
        self._stats.append(stats)

    def _statistics_of(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Statistic]:
        return {key: of_values(arrays[key]) for key, stream in self.streams.items() if stream.has_statistics}

    def _require_lock(self) -> None:
        if self._lock is None:
            raise DatasetError(f"{self.folder}: is closed or read only, so it does not change; open it to append")

    def _require_episode(self, episode: int) -> None:
        if not 0 <= episode < len(self):
            raise OutOfRangeError(f"{self.name}: no episode {episode}; it has {len(self)}, counted from 0")

    def _require_stream(self, key: str) -> None:
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)


def _locked(folder: Path) -> Lock:
    return FolderLock(folder, "appends to a replay", remedy=_REMEDY, error=DatasetError)


def _check_limits(max_bytes: int, capacity: int | None) -> None:
    if max_bytes < 0:
        raise ValueError(f"max_bytes={max_bytes} must not be negative; 0 keeps no episode in memory")
    if capacity is not None and capacity < 1:
        raise ValueError(f"capacity={capacity} must be at least 1 step; None samples all episodes")
