"""A tiny recording of an arm with a gripper and two cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter

STATE, ACTION, FRONT, WRIST = "observation.state", "action", "observation.images.front", "observation.images.wrist"
FEATURES = {
    STATE: Feature("float32", (3,)),
    ACTION: Feature("float32", (3,)),
    FRONT: Feature("image", (24, 32, 3)),
    WRIST: Feature("image", (16, 16, 3)),
}


def record(root: Path, *, episodes: int = 4, binary_gripper: bool = True, lights: int = 255) -> Path:
    """Episodes of 9 steps; the last action dimension is a gripper. Without lights (0) pictures are black."""
    random = np.random.default_rng(0)
    with DatasetWriter(root, FEATURES, 10.0, robot_type="toy") as writer:
        for episode in range(episodes):
            action = random.normal(size=(9, 3)).astype(np.float32)
            if binary_gripper:
                action[:, 2] = np.where(np.arange(9) < 5, -1.0, 1.0)
            frames = {
                key: random.integers(0, 256, (9, *FEATURES[key].shape), dtype=np.uint8) & np.uint8(lights)
                for key in (FRONT, WRIST)
            }
            state = random.normal(size=(9, 3)).astype(np.float32)
            writer.add_episode({STATE: state, ACTION: action, **frames}, f"task {episode % 2}")
    return root
