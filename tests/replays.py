"""Small replays, for tests: every value tells its episode and step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.replay import ReplaySource
from tempovla.timeline import Embodiment, StreamInfo
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, REWARD_KEY, STATE_KEY, SUCCESS_KEY, TERMINATED_KEY
from tempovla.timeline.outcomes import outcomes

FRONT = "observation.images.front"
BODY = Embodiment("hand", 2, 1, 10.0)
STREAMS = {
    STATE_KEY: StreamInfo("state", (2,), "float32", 10.0, ("x", "y")),
    ACTION_KEY: StreamInfo("action", (1,), "float32", 10.0),
    REWARD_KEY: StreamInfo("scalar", (1,), "float32", 10.0),
    SUCCESS_KEY: StreamInfo("scalar", (1,), "bool", 10.0),
    DONE_KEY: StreamInfo("scalar", (1,), "bool", 10.0),
    TERMINATED_KEY: StreamInfo("scalar", (1,), "bool", 10.0),
}
PICTURES = STREAMS | {FRONT: StreamInfo("image", (4, 4, 3), "uint8", 10.0)}
FACTS = {"simulator": "line", "task": "right"}
ROW_BYTES = 2 * 4 + 4 + 4 + 1 + 1 + 1
"""Of `STREAMS`."""


def frames(episode: int, length: int, pictures: bool = False) -> dict[str, np.ndarray]:
    """State (100 * episode + step, -step), action 10 * episode + step, reward step / 2, success at the last step."""
    steps = np.arange(length)
    front = {FRONT: np.full((length, 4, 4, 3), episode, np.uint8)} if pictures else {}
    return {
        STATE_KEY: np.stack([100 * episode + steps, -steps], axis=1).astype(np.float32),
        ACTION_KEY: (10 * episode + steps)[:, None].astype(np.float32),
        **outcomes(steps / 2, steps == length - 1),
        **front,
    }


def create(folder: Path, lengths: tuple[int, ...] = (), **limits: Any) -> ReplaySource:
    """A replay of episodes of these lengths."""
    replay = ReplaySource.create(folder, STREAMS, 10.0, BODY, FACTS, **limits)
    for length in lengths:
        replay.append(frames(len(replay), length), f"do {len(replay)}")
    return replay
