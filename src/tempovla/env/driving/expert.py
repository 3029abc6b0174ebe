"""A driver by rules: it follows its route, keeps its distance, stops at red lights and gives way.

Its speed follows the Intelligent Driver Model (Treiber et al., 2000). As in PDM-Closed (Dauner et al., 2023), several
such plans are rolled out against predictions of all others, and the fastest one without a collision is driven.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tempovla.env.driving import car as body
from tempovla.env.driving.agents import ID, KIND, PEDESTRIAN, SPEED, YAW, X, Y, boxes_of
from tempovla.env.driving.car import CarState
from tempovla.env.driving.geometry import overlaps, wrapped
from tempovla.env.driving.route import Route

ACCELERATION_M_S2 = 2.0
COMFORTABLE_BRAKING_M_S2 = 2.5
SIDEWAYS_M_S2 = 2.2
"""What it accelerates, brakes and corners with, if nothing is in its way."""
STANDSTILL_GAP_M, TIME_GAP_S = 2.0, 1.2
YELLOW_BRAKING_M_S2 = 3.0

_HORIZON_S, _PREDICTED_EVERY_S = 4.0, 0.25
_SEEN_M = 60.0
_STOPPING_M = 1.0
"""It stops its front so far before a stop line."""
_BESIDE_M, _BESIDE_PARKED_M = 0.25, 0.1
_AROUND_M, _AROUND_PEDESTRIAN_M = 0.15, 0.45
_TOUCHING_M = 6.0
_STEER_S = 0.02
_STANDS_M_S, _MOVES_M_S, _JAMMED_M_S = 0.2, 0.3, 1.5


@dataclass(frozen=True)
class Scene:
    """What the driver knows of a moment.

    Attributes:
        car: the ego.
        progress_m: how far along the route its rear axle is.
        agents: (N, `agents.FIELDS`) the others that it sees.
        turning: (N,) their yaw rates [rad/s].
        lights: the link states of each traffic light.
    """

    car: CarState
    progress_m: float
    agents: np.ndarray
    turning: np.ndarray
    lights: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """One of the plans: a wish that is tried.

    Attributes:
        speed_share: of the wanted speed.
        stop_at_line: whether to stop before the next junction.
    """

    speed_share: float
    stop_at_line: bool = False


_PLANS = (Plan(1.0), Plan(0.55), Plan(1.0, stop_at_line=True), Plan(0.25), Plan(0.0))


class RuleDriver:
    """Drives one route.

    Args:
        route: to follow, already led around what blocks it.
        top_speed: wanted where nothing is in the way [m/s].
        parked: (M, 5) boxes that stand beside or on the street.
    """

    def __init__(self, route: Route, top_speed: float, parked: np.ndarray) -> None:
        self._route = route
        self._limits = speed_limits(route, top_speed)
        self._blocked = _blocked_places(route, parked)

    def act(self, scene: Scene) -> np.ndarray:
        """Return the action (3,) float32: forward [m], left [m] and turn [rad] until the next control step."""
        acceleration = self.acceleration(scene)
        return body.motion_between(scene.car, self._pursue(scene, acceleration)).astype(np.float32)

    def acceleration(self, scene: Scene) -> float:
        """Return the acceleration of the fastest plan without a collision [m/s2]."""
        obstacles = self._obstacles(scene)
        predicted = _Predicted(scene, self._route)
        for plan in _PLANS:
            stops = self._stops(scene, plan, obstacles)
            first, places, speeds = self._roll_out(scene, plan, obstacles, stops)
            if predicted.is_free(places, speeds):
                return first
        return -body.LARGEST_BRAKING_M_S2 if scene.car.speed > 1.0 else -COMFORTABLE_BRAKING_M_S2

    def _obstacles(self, scene: Scene) -> list[tuple[float, float]]:
        """Place along the route [m] of the rear of those in the way, and their speed along it [m/s]."""
        boxes, speeds = boxes_of(scene.agents), scene.agents[:, SPEED]
        near = np.hypot(boxes[:, 0] - scene.car.x, boxes[:, 1] - scene.car.y) < _SEEN_M
        front = scene.progress_m + body.FRONT_M
        found = [(place, 0.0) for place in self._blocked if front - body.LENGTH_M < place < front + _SEEN_M]
        for box, speed in zip(boxes[near], speeds[near], strict=True):
            along, left = self._route.project(box[0], box[1], scene.progress_m, 5.0, _SEEN_M)
            turned = wrapped(box[2] - self._route.at(along)[2])
            cosine, sine = abs(math.cos(turned)), abs(math.sin(turned))
            half_length = (box[3] * cosine + box[4] * sine) / 2
            half_width = (box[3] * sine + box[4] * cosine) / 2
            if abs(left) > half_width + body.WIDTH_M / 2 + _BESIDE_M or along <= front - half_length:
                continue
            forward = speed * math.cos(turned)
            if forward > -0.5:  # those who come towards it are left to the predictions
                found.append((along - half_length, max(forward, 0.0)))
        return found

    def _stops(self, scene: Scene, plan: Plan, obstacles: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Stop lines that count as standing obstacles."""
        front, stops = scene.progress_m + body.FRONT_M, []
        for turn in self._route.turns:
            room = turn.start_m - _STOPPING_M - front
            if room < -1.5 * _STOPPING_M or room > _SEEN_M:
                continue
            needed = scene.car.speed**2 / (2 * max(room, 0.1))
            light = turn.connection.light
            state = scene.lights[light[0]][light[1]] if light and light[0] in scene.lights else "G"
            is_red = state in "rRu" and needed < body.LARGEST_BRAKING_M_S2
            is_yellow = state in "yY" and needed < YELLOW_BRAKING_M_S2
            # It does not enter a junction that it could not leave.
            room_beyond = turn.end_m + body.LENGTH_M + STANDSTILL_GAP_M
            is_jammed = any(place < room_beyond and speed < _JAMMED_M_S for place, speed in obstacles)
            can_wait = needed < 2 * COMFORTABLE_BRAKING_M_S2 and room > -_STOPPING_M / 2
            if is_red or is_yellow or ((plan.stop_at_line or is_jammed) and can_wait):
                stops.append((turn.start_m - _STOPPING_M + STANDSTILL_GAP_M, 0.0))
            break
        return stops

    def _roll_out(
        self, scene: Scene, plan: Plan, obstacles: list[tuple[float, float]], stops: list[tuple[float, float]]
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The first acceleration, and place along the route and speed at each predicted moment."""
        place, speed = scene.progress_m, scene.car.speed
        first, places, speeds, step = 0.0, [], [], _PREDICTED_EVERY_S
        leaders = obstacles + stops
        for number in range(round(_HORIZON_S / step)):
            limit = float(np.interp(place, self._route.along, self._limits)) * plan.speed_share
            acceleration = _follow(speed, limit, place + body.FRONT_M, leaders, number * step)
            if number == 0:
                first = acceleration
            speed = max(0.0, speed + acceleration * step)
            place += speed * step
            places.append(place)
            speeds.append(speed)
        return first, np.array(places), np.array(speeds)

    def _pursue(self, scene: Scene, acceleration: float) -> CarState:
        """Where the car is after a control step of pure pursuit."""
        car, place = scene.car, scene.progress_m
        for _ in range(round(body.STEP_S / _STEER_S)):
            look = max(3.5, 0.75 * car.speed + 1.5)
            x, y, _ = self._route.at(place + look)
            bearing = wrapped(math.atan2(y - car.y, x - car.x) - car.yaw)
            distance = max(math.hypot(x - car.x, y - car.y), 1.0)
            wanted = math.atan(2 * body.WHEEL_BASE_M * math.sin(bearing) / distance)
            wanted = max(-body.LARGEST_STEERING_RAD, min(wanted, body.LARGEST_STEERING_RAD))
            turned = body.STEERING_RATE_RAD_S * _STEER_S
            speed = max(0.0, car.speed + acceleration * _STEER_S)
            steering = car.steering + max(-turned, min(wanted - car.steering, turned))
            yaw = car.yaw + speed * math.tan(steering) / body.WHEEL_BASE_M * _STEER_S
            car = replace(
                car,
                x=car.x + speed * math.cos(yaw) * _STEER_S,
                y=car.y + speed * math.sin(yaw) * _STEER_S,
                yaw=yaw,
                speed=speed,
                steering=steering,
            )
            place += speed * _STEER_S
        return car


def _blocked_places(route: Route, parked: np.ndarray) -> list[float]:
    """Where the car's front would touch what is parked if it drove over the route [m]."""
    ahead = np.stack([np.cos(route.yaw), np.sin(route.yaw)], axis=1)
    size = body.LENGTH_M, body.WIDTH_M + 2 * _BESIDE_PARKED_M
    cars = np.concatenate(
        [route.line + body.MIDDLE_M * ahead, route.yaw[:, None], np.tile(size, (len(route.yaw), 1))], axis=1
    )
    found = []
    for box in parked:
        near = np.flatnonzero(np.hypot(*(cars[:, :2] - box[:2]).T) < _TOUCHING_M)
        hit = overlaps(np.broadcast_to(box, (len(near), 5)), cars[near])
        if hit.any():
            found.append(float(route.along[near[hit][0]]) + body.FRONT_M)
    return found


def _follow(speed: float, limit: float, front: float, leaders: list[tuple[float, float]], time_s: float) -> float:
    """The acceleration of the Intelligent Driver Model [m/s2]."""
    free = 1 - (speed / max(limit, 0.1)) ** 4
    strongest = 0.0
    for place, leader in leaders:
        gap = max(place + leader * time_s - front, 0.1)
        closing = speed * (speed - leader) / (2 * math.sqrt(ACCELERATION_M_S2 * COMFORTABLE_BRAKING_M_S2))
        strongest = max(strongest, (STANDSTILL_GAP_M + max(0.0, speed * TIME_GAP_S + closing)) / gap)
    acceleration = ACCELERATION_M_S2 * (free - strongest**2)
    if speed > limit:  # the model brakes too hard for a limit that falls
        comfortable = max(ACCELERATION_M_S2 * free, -1.6 * COMFORTABLE_BRAKING_M_S2)
        acceleration = min(comfortable, ACCELERATION_M_S2 * (1 - strongest**2))
    return max(-body.LARGEST_BRAKING_M_S2, acceleration)


def speed_limits(route: Route, top_speed: float) -> np.ndarray:
    """Return the speed at each vertex that its curve allows, reached by braking in time, (N,) [m/s]."""
    curvature = np.abs(np.gradient(route.yaw, route.along))
    limits = np.minimum(np.sqrt(SIDEWAYS_M_S2 / np.maximum(curvature, 1e-4)), top_speed)
    spacing = np.diff(route.along)
    for index in range(len(limits) - 2, -1, -1):
        slowed = math.sqrt(limits[index + 1] ** 2 + 2 * 0.6 * COMFORTABLE_BRAKING_M_S2 * spacing[index])
        limits[index] = min(limits[index], slowed)
    return limits


class _Predicted:
    """Boxes of the others at moments to come: each keeps its speed and its yaw rate."""

    def __init__(self, scene: Scene, route: Route) -> None:
        agents, self._route, car = scene.agents, route, scene.car
        offsets = agents[:, [X, Y]] - (car.x, car.y)
        near = np.hypot(offsets[:, 0], offsets[:, 1]) < _SEEN_M
        # Whoever drives behind it keeps its own distance.
        ahead = offsets @ np.array([math.cos(car.yaw), math.sin(car.yaw)]) > -1.0
        aside = np.abs(np.sin(agents[:, YAW] - car.yaw)) > 0.5
        near &= ahead | aside
        agents, turning = agents[near], scene.turning[near]
        times = np.arange(1, round(_HORIZON_S / _PREDICTED_EVERY_S) + 1) * _PREDICTED_EVERY_S
        fading = np.exp(-times / 1.5)  # nobody turns for long
        swept = turning[None] * np.cumsum(fading)[:, None] * _PREDICTED_EVERY_S
        yaw = agents[None, :, YAW] + swept
        step = agents[None, :, SPEED] * _PREDICTED_EVERY_S
        boxes = np.repeat(boxes_of(agents)[None], len(times), axis=0)
        boxes[:, :, 0] += np.cumsum(step * np.cos(yaw), axis=0)
        boxes[:, :, 1] += np.cumsum(step * np.sin(yaw), axis=0)
        boxes[:, :, 2] = yaw
        walks = (agents[:, KIND] == PEDESTRIAN) & (agents[:, SPEED] > _STANDS_M_S)
        around = np.where(walks, _AROUND_PEDESTRIAN_M, _AROUND_M)
        boxes[:, :, 3:] += 2 * around[:, None]
        self._boxes = boxes

    def is_free(self, places: np.ndarray, speeds: np.ndarray) -> bool:
        """Return whether the car meets nobody while it moves; what drives into it while it stands is not its doing."""
        times, others = self._boxes.shape[:2]
        if not others:
            return True
        mine = np.zeros((times, 5))
        for number, place in enumerate(places):
            x, y, yaw = self._route.at(place)
            ahead = body.MIDDLE_M
            mine[number] = x + ahead * math.cos(yaw), y + ahead * math.sin(yaw), yaw, body.LENGTH_M, body.WIDTH_M
        mine = np.repeat(mine[:, None], others, axis=1).reshape(-1, 5)
        boxes = self._boxes.reshape(-1, 5)
        close = np.hypot(*(mine[:, :2] - boxes[:, :2]).T) < (mine[:, 3] + boxes[:, 3]) / 2 + 1.0
        hit = np.zeros(len(mine), bool)
        hit[close] = overlaps(mine[close], boxes[close])
        return not hit.reshape(times, others)[speeds > _MOVES_M_S].any()


def turning_between(before: np.ndarray, now: np.ndarray, seconds: float) -> np.ndarray:
    """Return the yaw rates [rad/s] of the agents of a moment, (N,), 0 for those that were not there before."""
    known = {int(row[ID]): row for row in before}
    rates = np.zeros(len(now))
    for index, row in enumerate(now):
        if (earlier := known.get(int(row[ID]))) is not None:
            rates[index] = wrapped(row[YAW] - earlier[YAW]) / seconds
    return np.clip(rates, -0.8, 0.8)
