"""What cameras of MuJoCo should measure, by casting rays instead of drawing."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from tempovla.timeline.calibration import CameraCalibration


def points_in_world(depth: np.ndarray, camera: CameraCalibration) -> np.ndarray:
    """(S, S, 3) points of depth (S, S, 1), by the calibration alone."""
    assert camera.pose is not None
    pose = np.array(camera.pose)
    return ray_directions(camera) * depth.astype(np.float64) + pose[:3, 3]


def ray_directions(camera: CameraCalibration) -> np.ndarray:
    """(S, S, 3) directions in the world of the rays through pixels' centres, one metre long along the axis."""
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    seen = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones_like(rows)], axis=-1)
    return seen @ np.array(camera.pose)[:3, :3].T


def cast(model: Any, data: Any, camera: CameraCalibration, every: int, groups: tuple[int, ...]) -> np.ndarray:
    """(N, 4): row, column and distance along the axis of what rays through some pixels meet, and the geom's number.

    The distance is 0 where a ray meets nothing, and the number is then -1.
    """
    drawn = np.array([group in groups for group in range(6)], np.uint8)
    directions, origin = ray_directions(camera), np.array(camera.pose)[:3, 3].copy()
    found = []
    for row in range(every // 2, camera.height, every):
        for column in range(every // 2, camera.width, every):
            direction, geom = directions[row, column], np.array([-1], np.int32)
            distance = mujoco.mj_ray(model, data, origin, direction, drawn, 1, -1, geom)
            found.append((row, column, max(distance, 0.0), geom[0]))  # in lengths of the direction
    return np.array(found)
