"""The spaces of the driving simulator, in which absent points are NaN. It needs gymnasium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box, Dict

from tempovla.env.driving.car import SUBSTEPS
from tempovla.env.driving.mountings import LIDAR_RINGS, RADAR_POINTS
from tempovla.timeline.driving import IMU_NAMES, LIDAR_NAMES, RADAR_NAMES
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, POSE_KEY, STATE_KEY

if TYPE_CHECKING:
    from tempovla.env.driving.config import DrivingConfig


class PointsBox(Box):
    """Points (N, F) float32, of which those that are absent are rows of NaN."""

    def contains(self, x: Any) -> bool:
        """Return whether something has the shape and type of points, and no infinite numbers."""
        return isinstance(x, np.ndarray) and x.shape == self.shape and x.dtype == self.dtype and not np.isinf(x).any()


def point_shapes(config: DrivingConfig) -> dict[str, tuple[int, int]]:
    """Return how many points, and numbers of each, the sensors of points observe."""
    return {
        "lidar": (LIDAR_RINGS * config.lidar_azimuths, len(LIDAR_NAMES)),
        "radar": (RADAR_POINTS, len(RADAR_NAMES)),
        "imu": (SUBSTEPS, len(IMU_NAMES)),
    }


def spaces_of(config: DrivingConfig) -> tuple[Dict, Box]:
    """Return the spaces of each observation and of actions."""
    from tempovla.env.driving.config import ACTION_BOUNDS, POINT_SENSORS

    size, shapes = (config.image_height, config.image_width), point_shapes(config)
    shown: dict[str, Any] = {
        STATE_KEY: Box(-np.inf, np.inf, (config.embodiment.state_dim,), np.float32),
        POSE_KEY: Box(-np.inf, np.inf, (3,), np.float32),
    }
    for key in config.picture_keys():
        is_depth = key.startswith(DEPTH_KEY_PREFIX)
        shown[key] = Box(0, np.inf, (*size, 1), np.float32) if is_depth else Box(0, 255, (*size, 3), np.uint8)
    for name in config.measured:
        shown[POINT_SENSORS[name]] = PointsBox(-np.inf, np.inf, shapes[name], np.float32)
    low, high = (np.array(bound, np.float32) for bound in ACTION_BOUNDS)
    return Dict(shown), Box(low, high, dtype=np.float32)
