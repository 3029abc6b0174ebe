"""The car's sensors in one light and weather."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tempovla.env.driving import imu, radar
from tempovla.env.driving.agents import KIND, SIZES, YAW, X, Y
from tempovla.env.driving.config import POINT_SENSORS, DrivingConfig
from tempovla.env.driving.lidar import POSITION, Lidar
from tempovla.env.driving.rays import RayCaster
from tempovla.env.driving.spaces import point_shapes
from tempovla.env.driving.stage import Setting, Stage, stage_of
from tempovla.env.driving.weather import exposed
from tempovla.env.protocol import Observation
from tempovla.timeline.driving import SURROUND_CAMERAS
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

if TYPE_CHECKING:
    from tempovla.env.driving.environment import Instant

_LIDAR, _RADAR, _IMU, _PICTURES = range(4)
"""Streams of noise, so that no sensor's noise depends on which others are on."""
_SEEN_M, _BEYOND_M = 80.0, 10.0


class CarSenses:
    """Observes moments.

    Args:
        config: which sensors there are.
        condition: the task, which names the light and weather.
    """

    def __init__(self, config: DrivingConfig, condition: str) -> None:
        self._config = config
        setting = Setting(config.town, condition, config.image_height, config.image_width, config.supersample)
        self._stage = stage_of(setting)
        self._lidar = Lidar(self._stage, config.lidar_azimuths)
        self._radars = radar.Radars(self._stage)
        self._rays = RayCaster(self._stage)

    @property
    def stage(self) -> Stage:
        """The town as it was set last."""
        return self._stage

    def show(self, moment: Instant) -> None:
        """Set the town to a moment, unless it is already."""
        if self._stage.owner is not moment:
            self._stage.show(moment.pose, moment.agents, moment.lights)
            self._stage.owner = moment

    def observe(self, moment: Instant) -> Observation:
        """Return the streams of the sensors that are on."""
        config = self._config
        observation: Observation = {}
        for camera in config.seen:
            observation[IMAGE_KEY_PREFIX + camera] = self.picture(moment, camera)
        if config.depth:
            observation |= {DEPTH_KEY_PREFIX + camera: self.depth(moment, camera) for camera in config.seen}
        shapes = point_shapes(config)
        for name in config.measured:
            rows = self._points(name, moment)
            observation[POINT_SENSORS[name]] = padded(rows, shapes[name][0])
        return observation

    def _points(self, name: str, moment: Instant) -> np.ndarray:
        if name == "lidar":
            return self.lidar(moment)[0][:, :4]
        if name == "radar":
            return radar.in_ego_frame(self.radar(moment))
        return self.imu(moment)

    def picture(self, moment: Instant, camera: str) -> np.ndarray:
        """Return what a camera sees, (H, W, 3) uint8."""
        self.show(moment)
        noise = _noise(moment, _PICTURES + SURROUND_CAMERAS.index(camera))
        return exposed(self._stage.draw(camera), self._stage.weather, noise)

    def depth(self, moment: Instant, camera: str) -> np.ndarray:
        """Return how far away a camera sees things, (H, W, 1) float32 [m], 0 where it sees nothing."""
        self.show(moment)
        return self._stage.depth(camera)[..., None]

    def lidar(self, moment: Instant) -> tuple[np.ndarray, np.ndarray]:
        """Return a turn of the LiDAR: points (N, 5) float32 in the ego frame, and the road user that each lies on."""
        self.show(moment)
        return self._lidar.measure(moment.pose, _noise(moment, _LIDAR))

    def radar(self, moment: Instant) -> dict[str, radar.Targets]:
        """Return the targets of each radar."""
        self.show(moment)
        return self._radars.measure(moment.car, _noise(moment, _RADAR))

    def imu(self, moment: Instant) -> np.ndarray:
        """Return the inertial measurements since the control step before, (N, 7) float32."""
        return imu.measure(moment.since, _noise(moment, _IMU))

    def visible(self, moment: Instant) -> np.ndarray:
        """Return which road users are in sight from the roof, (N,) bool."""
        return self.visible_shares(moment) > 0

    def visible_shares(self, moment: Instant) -> np.ndarray:
        """Return the share of each road user that is in sight from the roof, (N,), by rays to places on it."""
        self.show(moment)
        agents, car = moment.agents, moment.car
        shares = np.zeros(len(agents))
        near = np.flatnonzero(np.hypot(agents[:, X] - car.x, agents[:, Y] - car.y) < _SEEN_M)
        if not len(near):
            return shares
        eye = np.array([*car.ahead(POSITION[0]), POSITION[2]])
        targets, owners = _spots(agents[near])
        rays = targets - eye
        lengths = np.linalg.norm(rays, axis=1)
        _, geoms = self._rays.cast(eye, rays / lengths[:, None], _SEEN_M + _BEYOND_M)
        bodies = self._stage.model.geom_bodyid[np.maximum(geoms, 0)]
        met = np.where(geoms >= 0, self._stage.agent_of[bodies], -1)
        counts = np.bincount(owners[met == near[owners]], minlength=len(near))
        shares[near] = counts / (len(targets) / len(near))
        return shares


def _spots(agents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places on road users to look at, (M, 3), and whose each is, (M,)."""
    sizes = SIZES[agents[:, KIND].astype(int)]
    parts = []
    for along in (-0.4, 0.0, 0.4):
        for height in (0.35, 0.8):
            x = agents[:, X] + along * sizes[:, 0] * np.cos(agents[:, YAW])
            y = agents[:, Y] + along * sizes[:, 0] * np.sin(agents[:, YAW])
            parts.append(np.stack([x, y, height * sizes[:, 2]], axis=1))
    return np.concatenate(parts), np.tile(np.arange(len(agents)), len(parts))


def _noise(moment: Instant, stream: int) -> np.random.Generator:
    return np.random.default_rng([moment.seed, moment.tick, stream])


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` rows as float32, with rows of NaN behind them where there are fewer."""
    full = np.full((count, rows.shape[1]), np.nan, np.float32)
    full[: min(len(rows), count)] = rows[:count]
    return full
