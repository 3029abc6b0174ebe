"""What an episode did: how far it came, what it hit, which lights it crossed, and how it felt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tempovla.env.driving import car as body
from tempovla.env.driving.agents import BICYCLE, ID, KIND, PEDESTRIAN, SPEED, X, Y, boxes_of, velocities_of
from tempovla.env.driving.car import CarState
from tempovla.env.driving.geometry import corners, overlaps
from tempovla.env.driving.ground import Ground
from tempovla.env.driving.route import Route

PARKED_FROM = 1_000_000
"""Parked vehicles have numbers from here on."""
OFF_ROAD_M = 2.0
"""An episode ends where the middle of the car is further from the road."""
OFF_ROUTE_M = 30.0
"""An episode ends where the car is further from its route, as in CARLA's leaderboard."""
MOMENT_S = 0.1
_TTC_S, _TTC_EVERY_S = 1.0, 0.25
_STANDS_M_S = 0.1
_WINDOW = 15
"""Moments over which motion is smoothed before it is judged, as nuPlan does: a Savitzky-Golay filter of order 2."""


@dataclass
class Judge:
    """Watches one episode.

    Args:
        route: the ego's.
        ground: of the town.
        nominal: (N,) when the expert would be at each vertex of the route if nothing were in its way [s].
    """

    route: Route
    ground: Ground
    nominal: np.ndarray
    progress_m: float = 0.0
    time_s: float = 0.0
    distance_m: float = 0.0
    hit: str = ""
    at_fault: bool = False
    red_lights: int = 0
    off_road: bool = False
    off_route: bool = False
    timeout: bool = False
    drivable: bool = True
    ttc_violations: int = 0
    speeds: list[float] = field(default_factory=list)
    yaws: list[float] = field(default_factory=list)

    def begin(self, car: CarState) -> None:
        """Take the first moment."""
        self.progress_m, _ = self.route.project(car.x, car.y, 0.0)
        self.speeds, self.yaws = [car.speed], [car.yaw]

    def watch(self, before: CarState, car: CarState, agents: np.ndarray, lights: dict[str, str]) -> bool:
        """Take the next moment, `MOMENT_S` later; return whether it ends the episode.

        Args:
            before: the car at the moment before.
            car: the car now.
            agents: (N, `agents.FIELDS`) the others, parked vehicles included.
            lights: link states of the traffic lights.
        """
        self.time_s += MOMENT_S
        self.distance_m += math.hypot(car.x - before.x, car.y - before.y)
        self.speeds.append(car.speed)
        self.yaws.append(self.yaws[-1] + _turned(car.yaw - self.yaws[-1]))
        earlier = self.progress_m
        along, _ = self.route.project(car.x, car.y, earlier)
        self.progress_m = max(earlier, along)
        self._look_at_lights(earlier, self.progress_m, lights)
        self.drivable &= bool((self.ground.off_road_m(corners(car.box()[None])[0]) == 0).all())
        self.off_road |= bool(self.ground.off_road_m(car.box()[None, :2])[0] > OFF_ROAD_M)
        away = self.route.line - (car.x, car.y)
        self.off_route |= bool(np.hypot(away[:, 0], away[:, 1]).min() > OFF_ROUTE_M)
        touched = self._touched(car, agents)
        if touched is not None:
            self.hit = _kind_of_hit(touched)
            self.at_fault = _is_at_fault(car, touched)
        return bool(self.hit) or self.off_road or self.off_route

    def end_step(self, car: CarState, agents: np.ndarray) -> None:
        """Take the end of a control step."""
        if car.speed > _STANDS_M_S and _soon_hits(car, agents):
            self.ttc_violations += 1

    @property
    def arrived(self) -> bool:
        """Whether the end of the route is reached."""
        return self.progress_m >= self.route.length - body.FRONT_M

    @property
    def completion(self) -> float:
        """Share of the route that is driven."""
        return min(1.0, self.progress_m / max(self.route.length - body.FRONT_M, 1e-6))

    def figures(self) -> dict[str, float]:
        """Return the measures, named as `timeline.driving.FIGURES` says."""
        nominal = float(np.interp(self.time_s, self.nominal, self.route.along))
        measures = {
            "completion": self.completion,
            "collision": float(bool(self.hit)),
            "collision_pedestrian": float(self.hit == "pedestrian"),
            "collision_vehicle": float(self.hit == "vehicle"),
            "collision_static": float(self.hit == "static"),
            "at_fault": float(self.at_fault),
            "red_lights": float(self.red_lights),
            "off_road": float(self.off_road),
            "off_route": float(self.off_route),
            "drivable": float(self.drivable),
            "timeout": float(self.timeout),
            "distance_m": self.distance_m,
            "progress": min(1.0, self.progress_m / nominal) if nominal > 0 else 0.0,
            "ttc_violations": float(self.ttc_violations),
        }
        return measures | comfort(np.array(self.speeds), np.array(self.yaws))

    def _look_at_lights(self, earlier: float, now: float, lights: dict[str, str]) -> None:
        for turn in self.route.turns:
            crossed = earlier + body.FRONT_M < turn.start_m <= now + body.FRONT_M
            light = turn.connection.light
            if crossed and light and lights.get(light[0], "")[light[1] : light[1] + 1] in ("r", "R"):
                self.red_lights += 1

    def _touched(self, car: CarState, agents: np.ndarray) -> np.ndarray | None:
        near = agents[np.hypot(agents[:, X] - car.x, agents[:, Y] - car.y) < 12.0]
        hit = overlaps(car.box(), boxes_of(near))
        return near[hit][0] if hit.any() else None


def comfort(speeds: np.ndarray, yaws: np.ndarray) -> dict[str, float]:
    """Return the largest accelerations, jerks and turn rates of a drive, smoothed as nuPlan does.

    Args:
        speeds: (N,) `MOMENT_S` apart [m/s].
        yaws: (N,) without jumps [rad].
    """
    acceleration, jerk = _derivatives(speeds)
    yaw_rate, yaw_acceleration = _derivatives(yaws)
    lateral = speeds * yaw_rate
    lateral_jerk, _ = _derivatives(lateral)
    return {
        "max_acceleration": float(max(acceleration.max(), 0.0)),
        "max_deceleration": float(max(-acceleration.min(), 0.0)),
        "max_lateral_acceleration": float(np.abs(lateral).max()),
        "max_jerk": float(np.hypot(jerk, lateral_jerk).max()),
        "max_longitudinal_jerk": float(np.abs(jerk).max()),
        "max_yaw_rate": float(np.abs(yaw_rate).max()),
        "max_yaw_acceleration": float(np.abs(yaw_acceleration).max()),
    }


def _derivatives(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of values, by parabolas through `_WINDOW` neighbours; (N,) each.

    Near the ends the parabola of the last whole window counts.
    """
    count = len(values)
    window = min(_WINDOW, count - (count + 1) % 2)
    if window < 3:
        return np.zeros(count), np.zeros(count)
    half = window // 2
    times = np.arange(-half, half + 1) * MOMENT_S
    fit = np.linalg.pinv(np.stack([np.ones(window), times, times**2], axis=1))
    slope, bend = (np.correlate(values, fit[row], "valid") for row in (1, 2))
    middle = np.clip(np.arange(count), half, count - 1 - half)
    beyond = (np.arange(count) - middle) * MOMENT_S
    return slope[middle - half] + 2 * bend[middle - half] * beyond, 2 * bend[middle - half]


def nominal_times(route: Route, limits: np.ndarray) -> np.ndarray:
    """Return when a car that drives at its limits is at each vertex of a route, (N,) [s].

    Args:
        route: the route.
        limits: (N,) its speed at each vertex [m/s].
    """
    means = (limits[:-1] + limits[1:]) / 2
    return np.concatenate([[0.0], np.cumsum(np.diff(route.along) / means)])


def _turned(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _kind_of_hit(agent: np.ndarray) -> str:
    if agent[KIND] in (PEDESTRIAN, BICYCLE):
        return "pedestrian"
    return "static" if agent[ID] >= PARKED_FROM else "vehicle"


def _is_at_fault(car: CarState, agent: np.ndarray) -> bool:
    """Whether the ego is to blame: not where it stands, nor where a faster one drives into its rear."""
    if car.speed < _STANDS_M_S:
        return False
    ahead = np.array([math.cos(car.yaw), math.sin(car.yaw)])
    middle = car.box()[:2]
    nearest = corners(boxes_of(agent[None]))[0]
    front = float(((nearest - middle) @ ahead).max())
    from_behind = front < 0 and float(velocities_of(agent[None])[0] @ ahead) > car.speed
    return not from_behind


def _soon_hits(car: CarState, agents: np.ndarray) -> bool:
    """Whether the car hits somebody ahead within a second if all keep their velocities."""
    ahead = np.array([math.cos(car.yaw), math.sin(car.yaw)])
    offsets = agents[:, [X, Y]] - car.box()[:2]
    reach = (car.speed + agents[:, SPEED]) * _TTC_S + 12.0
    near = (np.hypot(offsets[:, 0], offsets[:, 1]) < reach) & (offsets @ ahead > 0)
    others = agents[near]
    boxes, moving = boxes_of(others), velocities_of(others)
    for time in np.arange(_TTC_EVERY_S, _TTC_S + 1e-9, _TTC_EVERY_S):
        mine, theirs = car.box(), boxes.copy()
        mine[:2] += car.speed * time * ahead
        theirs[:, :2] += moving * time
        if overlaps(mine, theirs).any():
            return True
    return False
