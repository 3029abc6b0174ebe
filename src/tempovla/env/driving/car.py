"""The ego car: a kinematic bicycle whose controls are limited, and what turns an action into these controls.

Its size is that of the Renault Zoe with which nuScenes was recorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tempovla.env.driving.geometry import wrapped

LENGTH_M, WIDTH_M, HEIGHT_M = 4.084, 1.73, 1.562
WHEEL_BASE_M = 2.588
REAR_OVERHANG_M = 0.657
"""From the rear bumper to the rear axle, which is the ego frame's origin."""
FRONT_M = LENGTH_M - REAR_OVERHANG_M
MIDDLE_M = LENGTH_M / 2 - REAR_OVERHANG_M
"""From the rear axle forward to the front bumper and to the middle of the car."""

LARGEST_STEERING_RAD = 0.61
STEERING_RATE_RAD_S = 0.9
LARGEST_ACCELERATION_M_S2 = 3.5
LARGEST_BRAKING_M_S2 = 8.0
TOP_SPEED_M_S = 20.0

STEP_S = 0.5
"""A control step."""
SUBSTEP_S = 0.01
SUBSTEPS = round(STEP_S / SUBSTEP_S)
TRAFFIC_EVERY = 10
"""Substeps between two moments of traffic, which moves at 10 Hz."""

_YAW_WEIGHT, _LEFT_WEIGHT, _SMOOTHNESS = 1.0, 0.35, 0.004
_STANDSTILL_M = 1e-3


@dataclass(frozen=True)
class CarState:
    """Where the car is and how it moves; x, y and yaw are those of its rear axle.

    Attributes:
        x: [m].
        y: [m].
        yaw: [rad].
        speed: [m/s].
        steering: angle of the front wheels [rad], positive to the left.
        acceleration: along the car [m/s2].
    """

    x: float
    y: float
    yaw: float
    speed: float = 0.0
    steering: float = 0.0
    acceleration: float = 0.0

    @property
    def yaw_rate(self) -> float:
        """[rad/s]."""
        return self.speed * math.tan(self.steering) / WHEEL_BASE_M

    def ahead(self, metres: float) -> tuple[float, float]:
        """Return a point of the car's axis, so far before the rear axle."""
        return self.x + metres * math.cos(self.yaw), self.y + metres * math.sin(self.yaw)

    def box(self, margin_m: float = 0.0) -> np.ndarray:
        """Return the car's rectangle (5,): x and y of its middle, yaw, length, width."""
        x, y = self.ahead(MIDDLE_M)
        return np.array([x, y, self.yaw, LENGTH_M + 2 * margin_m, WIDTH_M + 2 * margin_m])

    def numbers(self) -> np.ndarray:
        """Return x, y, yaw, speed, steering, acceleration and yaw rate, (7,)."""
        return np.array([self.x, self.y, self.yaw, self.speed, self.steering, self.acceleration, self.yaw_rate])


def motion_between(start: CarState, end: CarState) -> np.ndarray:
    """Return the action (3,) that leads from one state to another: forward [m], left [m], turn [rad]."""
    dx, dy = end.x - start.x, end.y - start.y
    cosine, sine = math.cos(start.yaw), math.sin(start.yaw)
    return np.array([cosine * dx + sine * dy, cosine * dy - sine * dx, wrapped(end.yaw - start.yaw)])


def acceleration_for(distance_m: float, speed: float) -> float:
    """Return the constant acceleration [m/s2] that covers a distance in a control step, within the car's limits.

    The car does not reverse: a distance that it can only fall short of by stopping makes it stop there.
    """
    if distance_m <= _STANDSTILL_M:
        return -LARGEST_BRAKING_M_S2
    if distance_m < speed * STEP_S / 2:
        wanted = -(speed**2) / (2 * distance_m)
    else:
        wanted = 2 * (distance_m - speed * STEP_S) / STEP_S**2
    fastest = (TOP_SPEED_M_S - speed) / STEP_S
    return max(-LARGEST_BRAKING_M_S2, min(wanted, LARGEST_ACCELERATION_M_S2, fastest))


def curvatures_for(
    left_m: float, turn_rad: float, speed: float, acceleration: float, now: float
) -> tuple[float, float]:
    """Return the curvatures [1/m] in the middle and at the end of a control step that realise an action best.

    The curvature changes linearly from `now` to the first and on to the second. Heading and sideways motion are linear
    in both, so that this is a least-squares problem of two unknowns, which prefers little change.
    """
    times = (np.arange(SUBSTEPS) + 0.5) * SUBSTEP_S
    speeds = np.maximum(speed + acceleration * times, 0.0)
    half = STEP_S / 2
    weights = np.stack(
        [np.maximum(1 - times / half, 0), 1 - np.abs(times - half) / half, np.maximum(times / half - 1, 0)]
    )
    turned = weights * speeds * SUBSTEP_S
    turning = turned.sum(1)
    heading = np.cumsum(turned, axis=1) - turned / 2
    sideways = (heading * speeds).sum(1) * SUBSTEP_S
    rows = np.array(
        [
            [_YAW_WEIGHT * turning[1], _YAW_WEIGHT * turning[2]],
            [_LEFT_WEIGHT * sideways[1], _LEFT_WEIGHT * sideways[2]],
            [_SMOOTHNESS * 10, 0.0],
            [-_SMOOTHNESS * 10, _SMOOTHNESS * 10],
        ]
    )
    wanted = np.array(
        [
            _YAW_WEIGHT * (turn_rad - turning[0] * now),
            _LEFT_WEIGHT * (left_m - sideways[0] * now),
            _SMOOTHNESS * 10 * now,
            0.0,
        ]
    )
    matrix = rows.T @ rows + 1e-9 * np.eye(2)
    middle, end = np.linalg.solve(matrix, rows.T @ wanted)
    return float(middle), float(end)


def drive(state: CarState, action: np.ndarray) -> list[CarState]:
    """Return the states of the next control step, one every `SUBSTEP_S`, `SUBSTEPS` of them.

    Args:
        state: the present one.
        action: (3,) forward [m], left [m] and turn [rad] until the next control step, in the ego frame of this one.
            What the limits of acceleration, steering angle and steering rate do not allow is not reached.
    """
    forward, left, turn = (float(value) for value in action)
    # Of a part of a circle, forward and left are the chord; the car drives the arc.
    chord = math.copysign(math.hypot(forward, left), forward)
    half = max(min(abs(turn) / 2, math.pi / 2), 1e-4)
    acceleration = acceleration_for(chord * half / math.sin(half), state.speed)
    now = math.tan(state.steering) / WHEEL_BASE_M
    # To first order a circle's sideways motion is a little more than it is.
    aside = left * (half / math.sin(half)) ** 2
    middle, end = curvatures_for(aside, turn, state.speed, acceleration, now)
    states, turned = [], STEERING_RATE_RAD_S * SUBSTEP_S
    for number in range(1, SUBSTEPS + 1):
        share = 2 * number / SUBSTEPS
        curvature = now + share * (middle - now) if share <= 1 else middle + (share - 1) * (end - middle)
        wanted = max(-LARGEST_STEERING_RAD, min(math.atan(curvature * WHEEL_BASE_M), LARGEST_STEERING_RAD))
        if state.speed < 0.05:  # wheels that stand are not turned
            wanted = state.steering
        steering = state.steering + max(-turned, min(wanted - state.steering, turned))
        speed = max(0.0, state.speed + acceleration * SUBSTEP_S)
        mean = (state.speed + speed) / 2
        yaw = state.yaw + mean * math.tan((steering + state.steering) / 2) / WHEEL_BASE_M * SUBSTEP_S
        along = (state.yaw + yaw) / 2
        state = replace(
            state,
            x=state.x + mean * math.cos(along) * SUBSTEP_S,
            y=state.y + mean * math.sin(along) * SUBSTEP_S,
            yaw=yaw,
            speed=speed,
            steering=steering,
            acceleration=(speed - state.speed) / SUBSTEP_S,
        )
        states.append(state)
    return states
