"""LIBERO's demonstrations as an episode source, read from the HDF5 files as they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import DEFAULT_CACHE_BYTES, ByteCache
from tempovla.data.errors import DatasetError, unknown_stream
from tempovla.data.fingerprint import hash_files, hash_json
from tempovla.data.identity import DataIdentity, files_of, hash_of_arrays, stream_facts
from tempovla.data.image_codec import from_levels
from tempovla.data.libero_files import Demo, DemoFile, read_files
from tempovla.data.libero_frames import FrameReader
from tempovla.data.libero_layout import CAMERAS, DEPTHS, EE_STATE_KEY, EE_STATE_NAMES, LiberoImages
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.window import episode_number, step_numbers
from tempovla.storage.said_by import said_by
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.calibration import CameraCalibration, common_cameras
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, REWARD_KEY, STATE_KEY, is_outcome
from tempovla.timeline.source import EpisodeInfo, Reading, Statistics, StreamInfo, StreamTable

LOGGER = logging.getLogger(__name__)

_NUMBERS = {
    STATE_KEY: StreamInfo("state", (9,), "float32", LIBERO_PANDA.rate_hz, LIBERO_PANDA.state_names),
    EE_STATE_KEY: StreamInfo("state", (6,), "float32", LIBERO_PANDA.rate_hz, EE_STATE_NAMES),
    ACTION_KEY: StreamInfo("action", (7,), "float32", LIBERO_PANDA.rate_hz, LIBERO_PANDA.action_names),
    REWARD_KEY: StreamInfo("scalar", (1,), "float32", LIBERO_PANDA.rate_hz),
    DONE_KEY: StreamInfo("scalar", (1,), "bool", LIBERO_PANDA.rate_hz),
}


def open_libero(
    path: str | Path,
    *,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    default_instruction: str = "",
    images: LiberoImages = "auto",
) -> LiberoHdf5Source:
    """Open LIBERO's ``<task>_demo.hdf5`` files; nothing in them is executed, and nothing is written beside them.

    Args:
        path: a file, or the folder that holds them.
        cache_bytes: memory for pictures that have to be unpacked [bytes].
        default_instruction: instruction of demonstrations that have none in the file or its name.
        images: how pictures lie in the files.

    Raises:
        DatasetError: if there are none, or one of them is damaged, of another layout, contradicts itself or has
            numbers that are not finite.
    """
    files = read_files(Path(path), images)
    if not any(file.demos for file in files):
        raise DatasetError(f"{path}: no demonstration has any step; record some, or give another folder")
    if default_instruction:
        files = [file.with_default(default_instruction) for file in files]
    return LiberoHdf5Source(Path(path), files, ByteCache(cache_bytes), images)


class LiberoHdf5Source:
    """An `EpisodeSource` over LIBERO's files: in the order of their names, and in each of ``demo_0``, ``demo_1``, ...

    Names of one number, such as ``demo_01`` and ``demo_1``, are each a demonstration, in the order of the names.
    ``observation.state`` is joints (7) and fingers (2), ``observation.ee_state`` the hand's position and axis-angle
    where all demonstrations have them, as are ``next.reward`` and ``next.done``. Pictures are upright: the rows that
    the files have bottom first are turned round. The action of a step is the one that follows what is observed there,
    also in files that have it a row later. Numbers are held in memory, pictures are read when they are asked for.
    """

    def __init__(self, path: Path, files: Sequence[DemoFile], cache: ByteCache, images: LiberoImages = "auto") -> None:
        self._images = images
        self.path = path
        self.cache = cache
        self._demos = [demo for file in files for demo in file.demos]
        self._tasks = [file.task for file in files for _ in file.demos]
        self._reader = FrameReader(cache)
        self._numbers = _in_memory(str(path), self._demos)
        cameras, left_out = _cameras(self._demos)
        left_out |= _broken_numbers(self._demos)
        depths, apart = _depths(self._demos)
        left_out |= apart
        streams = {**self._numbers.streams, **cameras, **depths}
        self.streams: Mapping[str, StreamInfo] = StreamTable(streams, left_out)
        self.embodiment = replace(LIBERO_PANDA, cameras=_calibrations(str(path), self._demos, streams))
        self.recording: Mapping[str, Any] = _in_common([file.recording for file in files if file.demos])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "cache": ByteCache(self.cache.max_bytes), "_reader": None}  # files stay in their process

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _reader=FrameReader(state["cache"]))

    def with_cache(self, cache: ByteCache) -> LiberoHdf5Source:
        """Return the same source with another cache and its own open files."""
        other = copy(self)
        other.cache, other._reader = cache, FrameReader(cache)
        return other

    @property
    def name(self) -> str:
        """The folder or file."""
        return str(self.path)

    @property
    def rate_hz(self) -> float:
        """Control rate [Hz]."""
        return LIBERO_PANDA.rate_hz

    @property
    def statistics(self) -> Statistics:
        """Exact statistics of the streams of numbers."""
        return self._numbers.statistics

    def __len__(self) -> int:
        return len(self._demos)

    def episode(self, episode: int) -> EpisodeInfo:
        """Return the length, instruction, task (with its scene, if known) and origin of one demonstration."""
        info, demo = self._numbers.episode(episode), self._demos[episode]
        return replace(info, task=self._tasks[episode], origin=f"{demo.path}: {demo.name}")

    def instructions(self, episode: int) -> tuple[str, ...]:
        """Return (length,) words of every step: those of the demonstration."""
        return self._numbers.instructions(episode)

    def timestamps(self, episode: int, key: str) -> NDArray[np.float64]:
        """Return (length,) times of the steps [s]."""
        self._require(key)
        return self._numbers.timestamps(episode, ACTION_KEY)

    def read(self, episode: int, key: str, steps: Sequence[int]) -> Reading:
        """Return values of one stream at absolute control steps; see `EpisodeSource.read`."""
        self.episode(episode)
        value, valid = self.read_many(key, episode_number(episode), step_numbers(steps)[None])
        return Reading(value[0], valid[0])

    def read_many(self, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
        """Return values of one stream at steps (B, T) of episodes (B,), at once: value (B, T, *F), valid (B, T)."""
        self._require(key)
        stream = self.streams[key]
        if not stream.is_picture:
            return self._numbers.read_many(key, episodes, steps)
        demos = [self._demos[episode] for episode in episodes.tolist()]
        last = np.array([demo.length - 1 for demo in demos])[:, None]
        value = np.empty((*steps.shape, *stream.shape), dtype=stream.dtype)
        for row, demo, asked in zip(value, demos, np.clip(steps, 0, last).tolist(), strict=True):
            for picture, step in zip(row, asked, strict=True):
                stored = self._reader.read(demo.frames[key], step)
                picture[...] = stored if stream.kind == "image" else from_levels(stored)
        return Reading(value, (steps >= 0) & (steps <= last))

    def content_hash(self, keys: Collection[str]) -> str:
        """Hash of the files as they are, for any streams, and of the places of the demonstrations; see
        `ContentHashing`.
        """
        hashes = hash_files(demo.path for demo in self._demos)
        places = [[hashes[demo.path], demo.name] for demo in self._demos]
        return hash_json(places if self._images == "auto" else [self._images, places])

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """Of the files, each with the numbers and words of its demonstrations, which are in memory."""
        root = self.path.parent if self.path.is_file() else self.path
        inside: dict[str, list[str]] = {}
        for demo in self._demos:
            numbers = {key: held for key, held in demo.numbers.items() if key in keys or not is_outcome(key)}
            words = [demo.name, demo.instruction, hash_of_arrays(numbers)]
            inside.setdefault(os.path.relpath(demo.path, root), []).append(hash_json(words))
        digests = files_of(root, {demo.path for demo in self._demos})
        files = {name: f"{digest}-{hash_json(inside.get(name))[:32]}" for name, digest in digests.items()}
        return DataIdentity(self.name, stream_facts(self, keys) | {"data.libero_images": self._images}, files)

    def _require(self, key: str) -> None:
        if key not in self.streams:
            raise unknown_stream(key, self.streams, self.name)


def _in_memory(name: str, demos: Sequence[Demo]) -> MemorySource:
    everywhere = [key for key in _NUMBERS if all(key in demo.numbers for demo in demos)]
    episodes = [MemoryEpisode(demo.instruction, demo.length, demo.numbers) for demo in demos]
    return MemorySource(name, LIBERO_PANDA, {key: _NUMBERS[key] for key in everywhere}, episodes)


def _cameras(demos: Sequence[Demo]) -> tuple[dict[str, StreamInfo], dict[str, str]]:
    """The cameras that all demonstrations have, and why the others are left out.

    Raises:
        DatasetError: if none is left.
    """
    streams: dict[str, StreamInfo] = {}
    left_out: dict[str, str] = {}
    for key in CAMERAS:
        fault = next((demo.faults[key] for demo in demos if key in demo.faults), None) or _other_size(demos, key)
        if fault is None:
            streams[key] = StreamInfo("image", demos[0].frames[key].shape[1:], "uint8", LIBERO_PANDA.rate_hz)
        else:
            left_out[key] = fault
    if not streams:
        raise DatasetError(next(iter(left_out.values())))
    _warn_of(left_out, len(CAMERAS), "cameras", demos[0].path.parent)
    return streams, left_out


def _depths(demos: Sequence[Demo]) -> tuple[dict[str, StreamInfo], dict[str, str]]:
    """The distances that all demonstrations have, in pictures of one size, and why others are left out."""
    streams: dict[str, StreamInfo] = {}
    left_out: dict[str, str] = {}
    for key in DEPTHS:
        without = [demo for demo in demos if key not in demo.frames]
        if len(without) == len(demos):
            continue
        if without:
            fault: str | None = f"{without[0].path}: {without[0].name} has no obs/{DEPTHS[key]}, which others have"
        else:
            fault = _other_size(demos, key)
        if fault is None:
            streams[key] = StreamInfo("depth", demos[0].frames[key].shape[1:], "float32", LIBERO_PANDA.rate_hz)
        else:
            left_out[key] = fault
    _warn_of(left_out, len(DEPTHS), "streams of distances", demos[0].path.parent)
    return streams, left_out


def _calibrations(name: str, demos: Sequence[Demo], streams: Mapping[str, StreamInfo]) -> tuple[CameraCalibration, ...]:
    """What holds of the cameras in all demonstrations."""
    known = demos[0].cameras
    with said_by(name, remedy="record the demonstrations apart", error=DatasetError):
        for demo in demos[1:]:
            known = common_cameras(known, demo.cameras)
    return tuple(camera for camera in known if camera.stream in streams)


def _broken_numbers(demos: Sequence[Demo]) -> dict[str, str]:
    """Why streams of numbers that no policy needs are left out."""
    left_out: dict[str, str] = {}
    for demo in demos:
        left_out = {key: fault for key, fault in demo.faults.items() if key in _NUMBERS} | left_out
    _warn_of(left_out, len(_NUMBERS), "streams of numbers", demos[0].path.parent)
    return left_out


def _warn_of(left_out: Mapping[str, str], count: int, what: str, folder: Path) -> None:
    if left_out:
        reasons = "; ".join(f"{key} ({reason})" for key, reason in left_out.items())
        LOGGER.warning("%s: %d of %d %s are left out: %s", folder, len(left_out), count, what, reasons)


def _other_size(demos: Sequence[Demo], key: str) -> str | None:
    """Why the pictures of a camera, which all demonstrations have, are not of one size; None where they are."""
    known = demos[0].frames[key].shape[1:3]
    for demo in demos:
        size = demo.frames[key].shape[1:3]
        if size != known:
            return (
                f"{demo.path}: {demo.name} has {demo.frames[key].dataset} of height and width {list(size)}, but "
                f"{demos[0].path} has {list(known)}; pictures of one size are needed, leave out the others"
            )
    return None


def _in_common(recordings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all the files say alike."""
    return {key: value for key, value in recordings[0].items() if all(r.get(key) == value for r in recordings)}
