"""Small made-up recordings for tests of the data room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tempovla.data.layout import Feature
from tempovla.data.writer import MILLIMETRES, DatasetWriter, WriterConfig

FPS = 10
STATE, ACTION, FRONT, WRIST = "observation.state", "action", "observation.images.front", "observation.images.wrist"
FEATURES = {
    STATE: Feature("float32", (3,), ("x", "y", "z")),
    ACTION: Feature("float32", (2,)),
    FRONT: Feature("video", (32, 48, 3)),
    WRIST: Feature("image", (16, 16, 3)),
}

DISTANCES = Feature("image", (16, 16, 1), depth=MILLIMETRES)
"""What a depth camera records."""


def episode(index: int, length: int = 12, features: dict[str, Feature] = FEATURES) -> dict[str, np.ndarray]:
    """Arrays of one episode; every value tells its episode and step, cameras show smooth moving gradients."""
    generator = np.random.default_rng(index)
    frames = {}
    for key, feature in features.items():
        if feature.is_camera:
            height, width, _ = feature.shape
            y, x = np.mgrid[0:height, 0:width]
            shade = [40 * index % 200 + 10 + 4 * t + x // 2 + y for t in range(length)]
            frames[key] = (
                np.stack([np.stack([s, s[::-1], 255 - s], axis=-1) for s in shade]).clip(0, 255).astype("uint8")
            )
        elif feature.depth is not None:  # with holes in the first row
            values = generator.uniform(0.5, 1.5, (length, *feature.shape)).astype(np.float32)
            values[:, 0] = 0.0
            frames[key] = values
        else:
            values = generator.normal(size=(length, *feature.shape)) + 100 * index
            frames[key] = values.astype(feature.dtype)
    return frames


def record(
    root: Path,
    lengths: tuple[int, ...] = (12, 7, 9),
    features: dict[str, Feature] = FEATURES,
    config: WriterConfig | None = None,
) -> list[dict[str, np.ndarray]]:
    """Write a dataset of episodes of these lengths; returns what was recorded."""
    episodes = [episode(index, length, features) for index, length in enumerate(lengths)]
    with DatasetWriter(root, features, FPS, robot_type="toy", config=config) as writer:
        for index, frames in enumerate(episodes):
            writer.add_episode(frames, f"task {index % 2}")
    return episodes
