"""What a seed draws of an episode: the route, who parks where, the first speed, and pushes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempovla.env.driving import car as body
from tempovla.env.driving.agents import CAR, FIELDS, ID, KIND, SIZES, YAW, X, Y, boxes_of
from tempovla.env.driving.config import DrivingConfig
from tempovla.env.driving.expert import speed_limits
from tempovla.env.driving.geometry import wrapped
from tempovla.env.driving.ground import Ground
from tempovla.env.driving.infractions import PARKED_FROM, nominal_times
from tempovla.env.driving.route import Route, random_route
from tempovla.env.driving.town import Town

_STREAM = 0xD21
_FIRST_SPEED_M_S = 7.0
_BLOCKERS = 0.07
"""Share of the parked cars that stand out into the lane."""
_OUT_M = (0.35, 0.8)
_ROOM_M, _LONGEST_SHIFT_M = 0.4, 1.1
_AROUND_M = 9.0
"""Room beside a blocker, and over how many metres before and behind it the car moves over."""
_PUSH = (0.0, 0.35, 0.09)
"""Standard deviations of a push: forward [m], left [m] and turn [rad]."""


@dataclass(frozen=True)
class Episode:
    """What is drawn before an episode begins.

    Attributes:
        route: the ego's way.
        driven: the same, led around what stands out into the lane.
        nominal: (N,) when the expert would be at each vertex of the route if nothing were in its way [s].
        parked: (M, `agents.FIELDS`) parked vehicles.
        speed: the car's first [m/s].
        pushes: (max_steps, 3) what is added to the action of each control step.
        traffic_seed: of the traffic.
    """

    route: Route
    driven: Route
    nominal: np.ndarray
    parked: np.ndarray
    speed: float
    pushes: np.ndarray
    traffic_seed: int


def draw_episode(config: DrivingConfig, town: Town, ground: Ground, seed: int, attempt: int) -> Episode:
    """Return what a seed draws.

    Args:
        config: the settings.
        town: the town.
        ground: its ground.
        seed: of the episode.
        attempt: how many times the car could not be placed before.
    """
    generator = np.random.default_rng([_STREAM, seed, attempt])
    route = random_route(town, generator, config.route_least_m, config.route_most_m)
    parked = _parked(ground.scenery.parking, config.parked, generator)
    speed = float(generator.uniform(0.0, min(_FIRST_SPEED_M_S, config.top_speed)))
    pushes = _pushes(config, generator)
    driven = led_around(route, boxes_of(parked))
    limits = np.maximum(speed_limits(route, config.top_speed), 1.0)
    nominal = nominal_times(route, limits)
    return Episode(route, driven, nominal, parked, speed, pushes, int(generator.integers(2**31)))


def _parked(places: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    taken = places[generator.random(len(places)) < share]
    agents = np.zeros((len(taken), FIELDS))
    if not len(taken):
        return agents
    agents[:, ID] = PARKED_FROM + generator.integers(0, 1000, len(taken)) * 1000 + np.arange(len(taken))
    agents[:, KIND] = CAR
    out = np.where(generator.random(len(taken)) < _BLOCKERS, generator.uniform(*_OUT_M, len(taken)), 0.0)
    out += generator.normal(0.0, 0.06, len(taken))
    along = generator.uniform(-0.5, 0.5, len(taken))
    yaw = taken[:, 2]
    agents[:, X] = taken[:, 0] + along * np.cos(yaw) - out * np.sin(yaw)
    agents[:, Y] = taken[:, 1] + along * np.sin(yaw) + out * np.cos(yaw)
    agents[:, YAW] = yaw + generator.normal(0.0, 0.02, len(taken))
    return agents


def _pushes(config: DrivingConfig, generator: np.random.Generator) -> np.ndarray:
    """Bursts of one or two control steps, with at least four between them in which the car recovers."""
    pushes, step = np.zeros((config.max_steps, 3)), 2
    while step < config.max_steps:
        if generator.random() < config.push_rate:
            length = int(generator.integers(1, 3))
            pushes[step : step + length] = generator.normal(0.0, _PUSH)
            step += length + 4
        step += 1
    return pushes


def led_around(route: Route, boxes: np.ndarray) -> Route:
    """Return a route that keeps clear of what stands out into its lane from the right.

    Args:
        route: the route.
        boxes: (N, 5) what stands.
    """
    shift = np.zeros(len(route.line))
    for box in boxes:
        squared = ((route.line - box[:2]) ** 2).sum(1)
        nearest = int(np.argmin(squared))
        if squared[nearest] > 25.0 or abs(wrapped(box[2] - route.yaw[nearest])) > 0.6:
            continue
        along, left = route.project(box[0], box[1], float(route.along[nearest]))
        wanted = left + box[4] / 2 + body.WIDTH_M / 2 + _ROOM_M
        if left >= 0 or not 0.0 < wanted < _LONGEST_SHIFT_M:
            continue
        away = np.abs(route.along - along + body.MIDDLE_M) - SIZES[CAR][0] / 2 - 1.0
        share = np.clip(1 - away / _AROUND_M, 0, 1)
        np.maximum(shift, wanted * share * share * (3 - 2 * share), out=shift)
    return route.moved(shift) if shift.any() else route
