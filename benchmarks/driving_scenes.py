"""A drive in nuScenes' format with readings of the usual size, for benchmarks of what reads it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.nuscenes_scenes import START_US, add_can, calibrations, ego_at, radar_targets

from tempovla.data.nuscenes.layout import CAMERA_CHANNELS, LIDAR_CHANNEL, RADAR_CHANNELS
from tempovla.data.nuscenes.writer import NuScenesWriter

TARGETS = 20
"""Of each radar."""


def sweep_of(points: int, seed: int = 0) -> np.ndarray:
    """Points (N, 5) of a street: ground and walls, dense near the vehicle; intensity and beam."""
    random = np.random.default_rng(seed)
    angle, reach = random.uniform(0, 2 * math.pi, points), 3.0 + 27.0 * random.uniform(size=points) ** 2
    x, y = reach * np.cos(angle), np.clip(reach * np.sin(angle), -9.0, 9.0)
    height = np.where(np.abs(y) == 9.0, random.uniform(0, 4, points), 0.0)
    return np.stack([x, y, height, random.integers(0, 256, points), random.integers(0, 32, points)], 1).astype(
        np.float32
    )


def picture_of(size: tuple[int, int], seed: int) -> np.ndarray:
    """A gradient with noise (H, W, 3)."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    colours = np.stack([2 * columns + 7 * seed, 3 * rows, rows + columns], axis=-1) % 256
    noise = np.random.default_rng(seed).integers(-8, 9, colours.shape)
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def record(root: Path, key_frames: int, points: int, size: tuple[int, int]) -> None:
    """Write one scene of key frames alone."""
    with NuScenesWriter(root, map_mask=np.full((2500, 2500), 255, np.uint8)) as writer:
        scene = writer.start_scene("scene-0061", "a benchmark", calibrations())
        for step in range(key_frames):
            ego = ego_at(0.5 * step, 0)
            for index, channel in enumerate(CAMERA_CHANNELS):
                scene.add_camera(channel, ego.time_us, picture_of(size, 6 * step + index), ego, True)
            scene.add_lidar(LIDAR_CHANNEL, ego.time_us, sweep_of(points, step), ego, True)
            for index, channel in enumerate(RADAR_CHANNELS):
                scene.add_radar(channel, ego.time_us, radar_targets(ego.time_us, index, TARGETS), ego, True)
            scene.add_key_frame(START_US + 500_000 * step, [])
        add_can(scene, 0, 0.5 * (key_frames - 1))
        scene.finish()
