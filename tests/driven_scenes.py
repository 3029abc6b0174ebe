"""Scenes of a car in memory, as a dataset of driving has them: status, motion and words of every key frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tempovla.data.memory import MemoryEpisode, MemorySource
from tempovla.timeline import Embodiment, StreamInfo
from tempovla.timeline.driving import ACTION_NAMES, COMMANDS, CONTROL_RATE_HZ, STATE_NAMES
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

CAR = Embodiment("car", 4, 3, CONTROL_RATE_HZ, STATE_NAMES, ACTION_NAMES)
STREAMS = {
    STATE_KEY: StreamInfo("state", (4,), "float32", CONTROL_RATE_HZ),
    ACTION_KEY: StreamInfo("action", (3,), "float32", CONTROL_RATE_HZ),
}


def driven(speed: NDArray, yaw_rate: NDArray | float = 0.0, words: list[str] | None = None) -> MemoryEpisode:
    """A scene of a car that drives at these speeds (T,) [m/s] and yaw rates [rad/s], each held for a control step."""
    length = len(speed)
    turn = np.broadcast_to(np.asarray(yaw_rate, float) / CONTROL_RATE_HZ, (length,))
    action = np.stack([speed / CONTROL_RATE_HZ, np.zeros(length), turn], axis=1).astype(np.float32)
    state = np.zeros((length, 4), np.float32)
    state[:, 0], state[:, 2] = speed, turn * CONTROL_RATE_HZ
    told = [COMMANDS["follow"]] * length if words is None else words
    return MemoryEpisode(told, length, {STATE_KEY: state, ACTION_KEY: action})


def scenes(*episodes: MemoryEpisode) -> MemorySource:
    """A dataset of these scenes."""
    return MemorySource("town", CAR, STREAMS, list(episodes))
