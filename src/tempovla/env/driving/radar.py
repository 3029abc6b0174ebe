"""Five radars around the car, placed as nuScenes' Continental ARS 408; they measure radial velocities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempovla.env.driving.agents import KIND, PEDESTRIAN, velocities_of
from tempovla.env.driving.car import CarState
from tempovla.env.driving.geometry import rotation
from tempovla.env.driving.mountings import RADAR_RAYS, RADARS, RadarMounting
from tempovla.env.driving.rays import RayCaster
from tempovla.env.driving.stage import Stage

RANGE_M = 110.0
_OPENING_DEG = 60.0
_NOISE_M, _NOISE_M_S = 0.12, 0.08
_FROM_ROAD_USERS, _FROM_OTHERS = 0.85, 0.22
_LEAST_M = 0.6


@dataclass(frozen=True)
class Targets:
    """What one radar measures of N targets, in its own frame, x forward and y to the left.

    Attributes:
        places: (N, 2) [m].
        velocities: (N, 2) radial velocity over ground, as a vector [m/s].
        relative: (N, 2) radial velocity relative to the moving sensor, as a vector [m/s].
        cross_sections: (N,) radar cross section [dBsm].
        agents: (N,) row of the road user, -1 for others.
    """

    places: np.ndarray
    velocities: np.ndarray
    relative: np.ndarray
    cross_sections: np.ndarray
    agents: np.ndarray


class Radars:
    """Measures targets around the car.

    Args:
        stage: the town.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self._caster = stage, RayCaster(stage)
        azimuth = np.radians(np.linspace(-_OPENING_DEG, _OPENING_DEG, RADAR_RAYS))
        self._rays = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(RADAR_RAYS)], axis=1)

    def measure(self, car: CarState, generator: np.random.Generator) -> dict[str, Targets]:
        """Return the targets of each radar; the stage must show the moment.

        Args:
            car: the ego.
            generator: of the noise.
        """
        return {name: self._one(mounting, car, generator) for name, mounting in RADARS.items()}

    def _one(self, mounting: RadarMounting, car: CarState, generator: np.random.Generator) -> Targets:
        stage = self._stage
        yaw = car.yaw + math.radians(mounting.yaw_deg)
        turned = np.eye(3)
        turned[:2, :2] = rotation(yaw)
        arm = rotation(car.yaw) @ np.array(mounting.position[:2])
        origin = np.array([car.x + arm[0], car.y + arm[1], mounting.position[2]])
        rays = self._rays @ turned.T
        distances, geoms = self._caster.cast(origin, rays, RANGE_M)
        agents = np.where(geoms >= 0, stage.agent_of[stage.model.geom_bodyid[np.maximum(geoms, 0)]], -1)
        answers = generator.random(RADAR_RAYS) < np.where(agents >= 0, _FROM_ROAD_USERS, _FROM_OTHERS)
        noise = generator.standard_normal((3, RADAR_RAYS))
        seen = (distances > _LEAST_M) & answers
        agents, ray = agents[seen], self._rays[seen]
        ranges = distances[seen] + _NOISE_M * noise[0][seen]
        over_ground = np.zeros((len(ray), 2))
        over_ground[agents >= 0] = velocities_of(stage.agents[agents[agents >= 0]])
        speed = car.speed * np.array([math.cos(car.yaw), math.sin(car.yaw)])
        own = speed + car.yaw_rate * np.array([-arm[1], arm[0]])
        towards = rays[seen][:, :2]
        noise_m_s = _NOISE_M_S * noise[1][seen]
        radial = (over_ground * towards).sum(1) + noise_m_s
        relative = radial - towards @ own
        size = np.where(agents >= 0, 10.0, 2.0)
        walks = stage.agents[np.maximum(agents, 0), KIND] == PEDESTRIAN if len(stage.agents) else agents >= 0
        size = np.where((agents >= 0) & walks, -5.0, size)
        sections = size + 4.0 * noise[2][seen]
        flat = ray[:, :2]
        return Targets(flat * ranges[:, None], flat * radial[:, None], flat * relative[:, None], sections, agents)


def in_ego_frame(targets: dict[str, Targets]) -> np.ndarray:
    """Return the targets of all radars as points (N, 5) float32 in the ego frame: x, y, vx, vy and cross section."""
    parts = []
    for name, found in targets.items():
        mounting = RADARS[name]
        turn = rotation(math.radians(mounting.yaw_deg))
        places = found.places @ turn.T + mounting.position[:2]
        parts.append(np.concatenate([places, found.velocities @ turn.T, found.cross_sections[:, None]], axis=1))
    return np.concatenate(parts).astype(np.float32)
