"""Kinds of road users, their sizes, and how a moment of traffic is written as an array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kind:
    """A kind of road user.

    Attributes:
        name: in the simulator.
        length: of its box [m].
        width: of its box [m].
        height: of its box [m].
        category: its name in nuScenes' files.
        share: of the moving vehicles; 0 where it is no vehicle.
        top_speed: [m/s].
        acceleration: [m/s2].
    """

    name: str
    length: float
    width: float
    height: float
    category: str
    share: float = 0.0
    top_speed: float = 13.0
    acceleration: float = 2.2


KINDS: tuple[Kind, ...] = (
    Kind("car", 4.6, 1.9, 1.55, "vehicle.car", 0.74),
    Kind("truck", 7.2, 2.4, 3.1, "vehicle.truck", 0.08, acceleration=1.3),
    Kind("bus", 11.0, 2.6, 3.2, "vehicle.bus.rigid", 0.04, acceleration=1.2),
    Kind("motorcycle", 2.1, 0.8, 1.5, "vehicle.motorcycle", 0.07),
    Kind("bicycle", 1.8, 0.65, 1.7, "vehicle.bicycle", 0.07, top_speed=4.5, acceleration=1.2),
    Kind("pedestrian", 0.7, 0.7, 1.75, "human.pedestrian.adult"),
)
NAMES: tuple[str, ...] = tuple(kind.name for kind in KINDS)
CAR, TRUCK, BUS, MOTORCYCLE, BICYCLE, PEDESTRIAN = range(len(KINDS))
SIZES = np.array([(kind.length, kind.width, kind.height) for kind in KINDS])
"""(kinds, 3) length, width, height [m]."""

ID, KIND, X, Y, YAW, SPEED, ACCELERATION, LIGHTS = range(8)
FIELDS = 8
"""Columns of a moment of traffic: number of the road user, its kind, x and y of its box's middle [m], yaw [rad], speed
[m/s], acceleration [m/s2], and its lights."""
RIGHT_BLINKER, LEFT_BLINKER, BRAKE_LIGHT = 1, 2, 8
"""Bits of the lights, as SUMO has them."""


def boxes_of(agents: np.ndarray) -> np.ndarray:
    """Return the rectangles (N, 5) of road users (N, `FIELDS`): x, y, yaw, length, width."""
    sizes = SIZES[agents[:, KIND].astype(int)]
    return np.concatenate([agents[:, [X, Y, YAW]], sizes[:, :2]], axis=1)


def velocities_of(agents: np.ndarray) -> np.ndarray:
    """Return the velocities (N, 2) of road users over ground [m/s]."""
    yaw = agents[:, YAW]
    return agents[:, SPEED, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
