"""Episode sources that the laws are run over, and the windows that are read of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import libero_recordings, nuscenes_scenes, recordings, replays
from tests.contract.toys import ACTION, FRONT, STATE, ToySource

from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.libero_hdf5 import LiberoHdf5Source, open_libero
from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.data.replay import ReplaySource
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.driving import (
    CAMERA_KEYS,
    IMU_KEY,
    LIDAR_KEY,
    RADAR_KEY,
)
from tempovla.timeline.keys import DONE_KEY, REWARD_KEY


@dataclass(frozen=True)
class SourceCase:
    """A source and windows on its streams; `build` takes an empty folder to write in."""

    build: Callable[[Path], EpisodeSource]
    windows: tuple[Window, ...]


def recorded(folder: Path) -> LeRobotSource:
    """A small dataset of 12, 7 and 9 steps."""
    recordings.record(folder)
    return open_dataset(folder)


def in_memory(folder: Path) -> MemorySource:
    """The arrays of `ToySource`, clocks included."""
    toy = ToySource()
    episodes = [
        MemoryEpisode(
            toy.instructions(episode),
            toy.episode(episode).length,
            {key: toy.values(episode, key) for key in toy.streams},
            {FRONT: toy.timestamps(episode, FRONT)},
        )
        for episode in range(len(toy))
    ]
    return MemorySource("memory", toy.embodiment, toy.streams, episodes)


def demonstrated(folder: Path) -> LiberoHdf5Source:
    """Demonstrations of two tasks in LIBERO's files."""
    libero_recordings.record(folder)
    return open_libero(folder)


def replayed(folder: Path, max_bytes: int = 1 << 20) -> ReplaySource:
    """A replay of 12, 1 and 9 steps."""
    limits = {"max_bytes": max_bytes, "capacity": 20}
    with ReplaySource.create(folder, replays.PICTURES, 10.0, replays.BODY, replays.FACTS, **limits) as replay:
        for episode, length in enumerate((12, 1, 9)):
            words = [f"do {episode} at {step}" for step in range(length)]
            replay.append(replays.frames(episode, length, pictures=True), words)
    return replay


def driven(folder: Path) -> NuScenesSource:
    """Scenes of 7 and 1 key frames, whose sensors have clocks of their own."""
    return open_nuscenes(nuscenes_scenes.write(folder, (7, 1)))


DRIVING_WINDOWS = (
    Window(STATE, (-2, -1, 0)),
    Window(ACTION, (-1, 0, 1, 2, 3, 4, 5)),
    *(Window(key, (-2, 0, 1)) for key in (CAMERA_KEYS[0], LIDAR_KEY, RADAR_KEY, IMU_KEY)),
)
WINDOWS = (Window(STATE, (-2, -1, 0)), Window(ACTION, tuple(range(-2, 16))), Window(FRONT, (-3, 0, 2)))
REPLAY_WINDOWS = (*WINDOWS, Window(REWARD_KEY, (-1, 0, 3)), Window(DONE_KEY, (0,)))
LIBERO_WINDOWS = (*WINDOWS[:2], Window(libero_recordings.AGENT, (-3, 0, 2)))
