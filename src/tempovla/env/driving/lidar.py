"""A LiDAR of 32 rings on the roof, like nuScenes' Velodyne HDL-32E."""

from __future__ import annotations

import math

import numpy as np

from tempovla.env.driving.geometry import rotation
from tempovla.env.driving.mountings import LIDAR_POSITION, LIDAR_RINGS
from tempovla.env.driving.rays import RayCaster
from tempovla.env.driving.stage import Stage
from tempovla.env.driving.surface import ASPHALT, GRASS, KERB, PARKING, PAVEMENT, STRIPE, WHITE, YELLOW

POSITION = np.array(LIDAR_POSITION)
RANGE_M = 70.0
_LOWEST_DEG, _HIGHEST_DEG = -30.67, 10.67
_NOISE_M = 0.02
_SECTOR_COLUMNS = 10
_LEAST_M = 1.0
_OF_MATERIALS = {"paint": 38.0, "glass": 6.0, "dark": 5.0, "light": 55.0, "front_lamp": 90.0, "rear_lamp": 120.0}
_OF_GROUND = {
    GRASS: 14.0,
    PAVEMENT: 20.0,
    ASPHALT: 9.0,
    WHITE: 75.0,
    YELLOW: 55.0,
    STRIPE: 65.0,
    PARKING: 10.0,
    KERB: 26.0,
}
_OTHERS = 28.0
_FADING_M = 60.0


class Lidar:
    """Measures points around the car.

    Args:
        stage: the town.
        azimuths: pulses of a ring a turn.
    """

    def __init__(self, stage: Stage, azimuths: int) -> None:
        self._stage, self._caster, self._azimuths = stage, RayCaster(stage), azimuths
        elevation = np.radians(np.linspace(_LOWEST_DEG, _HIGHEST_DEG, LIDAR_RINGS))[:, None]
        azimuth = (2 * np.pi * np.arange(azimuths) / azimuths)[None]
        flat = np.cos(elevation)
        parts = flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation) + 0 * azimuth
        self._rays = np.stack(parts, axis=-1)
        columns = _SECTOR_COLUMNS if azimuths % _SECTOR_COLUMNS == 0 else azimuths
        self._sectors = azimuths // columns
        model = stage.model
        names = [model.material(number).name if number >= 0 else "" for number in model.geom_matid]
        self._reflects = np.array([_OF_MATERIALS.get(name, _OTHERS) for name in names])
        self._reflects_ground = np.array([_OF_GROUND[kind] for kind in range(len(_OF_GROUND))])
        self._ground = model.geom("ground").id

    def measure(
        self, pose: tuple[float, float, float], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the points of one turn, (N, 5) float32, and the row of the road user that each lies on, (N,), -1.

        The stage must show the moment.

        Args:
            pose: the ego's x, y and yaw.
            generator: of the noise.

        Returns:
            x, y, z [m] in the ego frame, intensity in [0, 255] and ring, from below.
        """
        stage, weather = self._stage, self._stage.weather
        turned = np.eye(3)
        turned[:2, :2] = rotation(pose[2])
        origin = turned @ POSITION + (pose[0], pose[1], 0.0)
        distances, geoms = self._caster.sweep(origin, self._rays @ turned.T, pose[2], self._sectors, RANGE_M)
        draws = generator.random((3, *distances.shape))
        distances = distances + _NOISE_M * generator.standard_normal(distances.shape) * (distances > 0)
        lost = draws[0] > np.exp(-math.log(2) * np.maximum(distances, 0) / weather.lidar_range_m)
        intensity = self._intensity(pose, distances, geoms)
        weak = intensity < 3.0 * draws[1]
        seen = (distances > _LEAST_M) & ~lost & ~weak
        if weather.backscatter:
            drops = draws[2] < weather.backscatter
            near = 1.5 + 14.0 * draws[1] ** 2
            hit = drops & ((distances < 0) | (near < distances))
            distances, intensity = np.where(hit, near, distances), np.where(hit, 2.0, intensity)
            geoms, seen = np.where(hit, -1, geoms), seen | hit
        ring = np.broadcast_to(np.arange(LIDAR_RINGS)[:, None], distances.shape)
        points = POSITION + self._rays[seen] * distances[seen][:, None]
        columns = np.concatenate([points, intensity[seen][:, None], ring[seen][:, None]], axis=1)
        bodies = np.where(geoms[seen] >= 0, stage.model.geom_bodyid[geoms[seen]], 0)
        return columns.astype(np.float32), stage.agent_of[bodies]

    def _intensity(self, pose: tuple[float, float, float], distances: np.ndarray, geoms: np.ndarray) -> np.ndarray:
        intensity = self._reflects[geoms]
        on_ground = geoms == self._ground
        flat = POSITION[:2] + self._rays[on_ground][:, :2] * distances[on_ground][:, None]
        places = flat @ rotation(pose[2]).T + (pose[0], pose[1])
        intensity[on_ground] = self._reflects_ground[self._stage.surface.at(places)]
        if self._stage.weather.wet:
            intensity[on_ground] *= 0.4
        return np.clip(intensity * np.exp(-np.maximum(distances, 0) / _FADING_M), 0, 255)
