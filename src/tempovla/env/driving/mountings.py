"""Where the LiDAR and the radars sit on the car, about as on nuScenes' cars. Nothing here needs MuJoCo."""

from __future__ import annotations

import math
from dataclasses import dataclass

LIDAR_RINGS = 32
LIDAR_POSITION = (0.94, 0.0, 1.84)
"""Of the sensor, in the ego frame [m]."""
LIDAR_YAW_RAD = -math.pi / 2
"""Of the sensor's frame in nuScenes' files, in the ego frame."""

RADAR_RAYS = 96
"""Directions in which a radar looks; it measures at most one target in each."""


@dataclass(frozen=True)
class RadarMounting:
    """Where a radar sits in the ego frame: x, y, z [m] and yaw [degrees]."""

    position: tuple[float, float, float]
    yaw_deg: float


RADARS: dict[str, RadarMounting] = {
    "RADAR_FRONT": RadarMounting((3.41, 0.0, 0.5), 0.0),
    "RADAR_FRONT_LEFT": RadarMounting((2.42, 0.8, 0.78), 90.0),
    "RADAR_FRONT_RIGHT": RadarMounting((2.42, -0.8, 0.77), -90.0),
    "RADAR_BACK_LEFT": RadarMounting((-0.56, 0.63, 0.53), 175.0),
    "RADAR_BACK_RIGHT": RadarMounting((-0.56, -0.62, 0.53), -175.0),
}

RADAR_POINTS = RADAR_RAYS * len(RADARS)
"""Most targets of all radars together in an observation."""
