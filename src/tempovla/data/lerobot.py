"""LeRobot datasets, v2.1 and v3.0, as episode sources."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.availability import leave_out_absent, log_left_out
from tempovla.data.byte_cache import DEFAULT_CACHE_BYTES, ByteCache
from tempovla.data.columns import Columns
from tempovla.data.dataset_statistics import DatasetStatistics
from tempovla.data.declared import is_flagged_depth, with_depth_unit
from tempovla.data.errors import DatasetError, OutOfRangeError, unknown_stream
from tempovla.data.fingerprint import hash_files, hash_json
from tempovla.data.identity import DataIdentity, evenly, files_of, stream_facts
from tempovla.data.layout import DatasetMeta, EpisodeRecord, Feature
from tempovla.data.lerobot_meta import load_meta, load_recording
from tempovla.data.tasks import KnownWords, RowTasks
from tempovla.data.video_frames import VideoFrames
from tempovla.data.window import episode_number, step_numbers
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeInfo, Reading, StreamInfo, StreamKind, StreamTable
from tempovla.timeline.task import Embodiment

_NEEDED = ("timestamp", "episode_index")
"""Columns that training reads whatever the policy; besides, there are words, the state, the action and cameras."""

_DESCRIPTIONS = ("info.json", "episodes.jsonl", "tasks.jsonl", "tasks.parquet", "modality.json")
"""Files in ``meta/`` that determine the values."""


def open_dataset(
    root: str | Path,
    *,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    depth_unit: str | None = None,
    default_instruction: str = "",
) -> LeRobotSource:
    """Open a LeRobot dataset of the version in ``meta/info.json``.

    Columns that are declared, but cannot be read, are left out with one line of log.

    Args:
        root: the folder that holds ``meta/``.
        cache_bytes: memory for decoded frames and columns, in all [bytes].
        depth_unit: unit of depth pictures where the dataset does not declare it; see `declared.parse_unit`.
        default_instruction: instruction of rows that have none.

    Raises:
        DatasetError: if `root` is no dataset that can be read.
    """
    meta = leave_out_absent(load_meta(root))
    log_left_out(meta)
    if depth_unit is not None:
        meta = with_depth_unit(meta, depth_unit)
    meta = replace(meta, default_instruction=default_instruction)
    return LeRobotSource(meta, ByteCache(cache_bytes))


class LeRobotSource:
    """An `EpisodeSource` over a LeRobot dataset. One row of the dataset is one control step.

    Nothing is decoded before it is asked for; what was is kept within the cache's budget. What is not as
    declared, NaN or infinite is refused when its episode is read.
    """

    def __init__(self, meta: DatasetMeta, cache: ByteCache) -> None:
        self.meta = meta
        self.cache = cache
        self._columns = Columns(meta, cache)
        self._videos = VideoFrames(meta, self._columns, cache)
        self._tasks = RowTasks(meta, self._columns)
        self._words = KnownWords()
        self._checked: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        cache = ByteCache(self.cache.max_bytes)  # open files stay in their process
        return {"meta": self.meta, "cache": cache, "_words": self._words}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["meta"], state["cache"])  # type: ignore[misc]
        self._words = state["_words"]

    def with_cache(self, cache: ByteCache) -> LeRobotSource:
        """Return the same source with another cache and its own open files."""
        other = LeRobotSource(self.meta, cache)
        other._words = self._words
        return other

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.meta.root)

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return self.meta.fps

    @cached_property
    def embodiment(self) -> Embodiment:
        """The robot, with the dimensions of ``observation.state`` and ``action`` (0 where there is none)."""
        none = Feature("float32", (0,))
        state = self.meta.features.get(STATE_KEY, none)
        action = self.meta.features.get(ACTION_KEY, none)
        return Embodiment(
            name=self.meta.robot_type,
            state_dim=state.shape[0],
            action_dim=action.shape[0],
            rate_hz=self.meta.fps,
            state_names=state.names,
            action_names=action.names,
            cameras=self.meta.cameras,
        )

    @cached_property
    def streams(self) -> StreamTable:
        """Every column that can be read, and why others that are declared cannot."""
        streams = {
            key: StreamInfo(
                kind=_kind(key, feature),
                shape=feature.shape,
                dtype="uint8" if feature.is_camera else "float32" if feature.depth else feature.dtype,
                rate_hz=self.meta.fps,
                names=feature.names,
            )
            for key, feature in self.meta.features.items()
        }
        return StreamTable(streams, self.meta.left_out)

    @cached_property
    def statistics(self) -> DatasetStatistics:
        """Statistics from ``meta/`` or from the rows; for cameras one a channel, in units of full brightness."""
        return DatasetStatistics(self, self.meta)

    @cached_property
    def recording(self) -> Mapping[str, Any]:
        """Contents of ``meta/recording.json``; empty without one."""
        return load_recording(self.meta.root)

    def __len__(self) -> int:
        return len(self.meta.episodes)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length and first instruction of one episode."""
        words = self._words_of(episode)
        return EpisodeInfo(self._record(episode).length, words if isinstance(words, str) else words[0])

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return the instruction of every row (length,), which its `task_index` names; "" if it has none.

        Where the dataset has but one task, rows are not read for it: one that says otherwise is refused when it is.

        Raises:
            DatasetError: if the dataset does not assign instructions to its rows.
        """
        words = self._words_of(episode)
        self._words.given.add(self._record(episode).index)
        return (words,) * self._record(episode).length if isinstance(words, str) else words

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (length,) times of the rows [s]."""
        self._feature(key)
        record = self._record(episode)
        return self._columns.times_s(record)

    def check(self, parts: Mapping[str, Sequence[StreamPart]] | None = None) -> dict[str, str]:
        """Check everything that training on the state, the action and the cameras would read, without decoding
        pictures.

        Args:
            parts: of which dimensions of which columns the state and the action are joined, by their keys; by default
                they are the columns that are called so.

        Returns:
            What is wrong with streams, or dimensions of them, that such a policy does not read, by key.

        Raises:
            DatasetError: at the first file that is missing or truncated, contradicts ``meta/``, or holds what would be
                refused when it is read.
        """
        parts = parts or {}
        self._check_left_out(parts)
        own = [(key, None) for key in (STATE_KEY, ACTION_KEY) if key in self.meta.features and key not in parts]
        read = own + [(part.key, _dimensions(part)) for joined in parts.values() for part in joined]
        warnings: dict[str, str] = {}
        columns = [key for key, feature in self.meta.features.items() if not feature.is_picture]
        for episode, record in enumerate(self.meta.episodes):
            self._check(record, columns)
            for key, dimensions in read:
                if not self._columns.is_sound(record.data_path, key):
                    self._columns.values(record, key, dimensions)
            for key, feature in self.meta.features.items():
                if key in warnings or self._columns.is_sound(record.data_path, key):
                    continue
                try:
                    self._check_column(episode, key)
                except DatasetError as error:
                    if feature.is_camera or key in _NEEDED:
                        raise
                    warnings[key] = str(error)
        return warnings

    def content_hash(self, keys: Collection[str]) -> str:
        """Of the parquet files and of these cameras' videos and images as they are stored; see `ContentHashing`."""
        videos = [key for key in sorted(keys) if self._feature(key).dtype == "video"]
        images = [key for key in sorted(keys) if self._feature(key).dtype == "image"]
        records = self.meta.episodes
        hashes = hash_files([r.data_path for r in records] + [r.video(key).path for r in records for key in videos])
        places = [
            [r.index, hashes[r.data_path], *([hashes[r.video(key).path], r.video(key).start_s] for key in videos)]
            for r in records
        ]
        beside = hashlib.sha256()  # images may lie in files of their own
        for record, key in itertools.product(records, images):
            for step in range(record.length):
                stored = self._columns.stored_picture(record, key, step)
                beside.update(hashlib.sha256(stored if isinstance(stored, bytes) else stored.tobytes()).digest())
        units = {key: depth.unit_m for key in sorted(keys) if (depth := self._feature(key).depth) is not None}
        return hash_json([places, beside.hexdigest(), *([units] if units else [])])

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """Return the identity of the rows, of these cameras' videos, and of ``meta/`` without statistics and notes.

        Images that lie in files of their own are looked at in up to 64 episodes, at their beginnings and ends.
        """
        meta, records = self.meta, self.meta.episodes
        videos = [key for key in sorted(keys) if self._feature(key).dtype == "video"]
        paths = {record.data_path for record in records} | {
            r.videos[key].path for r in records for key in videos if key in r.videos
        }
        folder = meta.root / "meta"
        paths |= {path for name in _DESCRIPTIONS if (path := folder / name).is_file()}
        paths |= {*(folder / "episodes").glob("*/*.parquet")}
        facts = stream_facts(self, keys) | {"default_instruction": meta.default_instruction}
        depths = {key: self._feature(key).depth for key in sorted(keys)}
        facts |= {"depth": {key: depth.unit_m for key, depth in depths.items() if depth is not None}}
        images = [key for key in sorted(keys) if self._feature(key).dtype == "image"]
        if images and (meta.root / "images").is_dir():
            beside = hashlib.sha256()
            for record, key in itertools.product([records[i] for i in evenly(len(records), 64)], images):
                for step in evenly(record.length, 2):
                    stored = self._columns.stored_picture(record, key, step)
                    beside.update(stored if isinstance(stored, bytes) else stored.tobytes())
            facts["images"] = beside.hexdigest()
        return DataIdentity(self.name, facts, files_of(meta.root, paths))

    def task_at(self, episode: int) -> NDArray[np.int64]:
        """Return (length,) the `task_index` of each row, as the file has it.

        Raises:
            DatasetError: if it has none.
        """
        record = self._record(episode)
        index = self._tasks.index(record)
        if index is None:
            raise DatasetError(f"{record.data_path}: no column 'task_index'; ask for instructions(episode) instead")
        return index

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        value, valid = self.read_many(key, episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        return self._read_many(key, None, episodes, steps)

    def read_part(self, part: StreamPart, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Some dimensions of a stream of vectors: value (B, T, width), valid (B, T); others may hold anything."""
        return self._read_many(part.key, _dimensions(part), episodes, steps)

    def _read_many(
        self, key: str, part: slice | None, episodes: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Reading:
        feature = self._feature(key)
        records = [self._record(int(episode)) for episode in episodes]
        last = np.array([record.length - 1 for record in records])[:, None]
        clamped = np.clip(steps, 0, last)
        if not feature.is_picture:
            value = np.stack([self._numbers(r, key, part)[s] for r, s in zip(records, clamped, strict=True)])
        else:
            for record in records:
                self._check(record)
            value = np.empty((*steps.shape, *feature.shape), dtype=self.streams[key].dtype)
            if feature.dtype == "video":
                self._videos.fill(value, key, records, clamped)
            else:
                self._fill_from_columns(value, key, records, clamped)
        return Reading(value, (steps >= 0) & (steps <= last))

    def _numbers(self, record: EpisodeRecord, key: str, part: slice | None) -> NDArray[Any]:
        self._check(record, (key,))
        return self._columns.values(record, key, part)

    def _feature(self, key: str) -> Feature:
        if key not in self.meta.features:
            raise unknown_stream(key, self.streams, self.name)
        return self.meta.features[key]

    def _words_of(self, episode: int) -> str | tuple[str, ...]:
        record = self._record(episode)
        return self._words.of(record, self._tasks, is_read=record.index in self._checked)

    def _record(self, episode: int) -> EpisodeRecord:
        if not 0 <= episode < len(self):
            raise OutOfRangeError(f"{self.name}: no episode {episode}; it has {len(self)}, counted from 0")
        return self.meta.episodes[episode]

    def _check(self, record: EpisodeRecord, keys: Iterable[str] = ()) -> None:
        """Refuse rows whose timestamps contradict the control rate, or whose words are not the expected ones, once an
        episode; `keys` are read next.
        """
        if record.index in self._checked:
            return
        needed = ("task_index",) if record.index in self._words.unread else ()
        self._columns.read_together(record.data_path, (*_NEEDED, *needed, *keys))
        self._words.settle(record, self._tasks)
        times_s = self._columns.times_s(record)
        error = np.abs(times_s - times_s[0] - np.arange(record.length) / self.meta.fps)
        if error.max() * self.meta.fps > 0.5:
            row = int(np.argmax(error * self.meta.fps > 0.5))
            raise DatasetError(
                f"{record.data_path}: episode {record.index} has timestamp {times_s[row]:.4f} s at frame {row}, but "
                f"fps {self.meta.fps:g} in meta/info.json puts it at {times_s[0] + row / self.meta.fps:.4f} s; "
                "correct fps or the timestamps, in seconds from 0, or resample the episode"
            )
        self._checked.add(record.index)

    def _check_left_out(self, joined: Collection[str]) -> None:
        """Refuse a dataset whose state or action, or all of whose cameras, are declared but cannot be read."""
        wanted = [key for key in (STATE_KEY, ACTION_KEY) if key in self.meta.left_out and key not in joined]
        if not any(feature.is_camera for feature in self.meta.features.values()):
            entries = {key: self.meta.info["features"][key] for key in self.meta.left_out}
            wanted += [
                key
                for key, entry in entries.items()
                if isinstance(entry, Mapping)
                and entry.get("dtype") in ("image", "video")
                and not is_flagged_depth(entry)
            ]
        if wanted:
            raise unknown_stream(wanted[0], self.streams, self.name)

    def _check_column(self, episode: int, key: str) -> None:
        record, feature = self.meta.episodes[episode], self.meta.features[key]
        if not feature.is_picture:
            self._columns.values(record, key)
            return
        if feature.dtype == "video":
            self._videos.check(record, key)
        else:
            for step in range(record.length):
                self._columns.check_picture(record, key, step)
        if feature.depth is not None:  # its unit and range are right, too
            self.read(episode, key, [0])

    def _fill_from_columns(
        self, out: NDArray[Any], key: str, records: list[EpisodeRecord], steps: NDArray[np.int64]
    ) -> None:
        for row, record in enumerate(records):
            for step, number in enumerate(steps[row].tolist()):
                place = (record.data_path, record.index, key, number)
                frame = self.cache.get(place)
                if frame is None:
                    frame = self._columns.picture(record, key, number)
                    self.cache.put(place, frame)
                out[row, step] = frame


def _dimensions(part: StreamPart) -> slice | None:
    return None if part.is_whole else slice(part.start, part.stop)


def _kind(key: str, feature: Feature) -> StreamKind:
    if feature.is_camera:
        return "image"
    if feature.depth is not None:
        return "depth"
    if key == ACTION_KEY or key.startswith(f"{ACTION_KEY}."):
        return "action"
    return "state" if key.startswith("observation.") else "scalar"
