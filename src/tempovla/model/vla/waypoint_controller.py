"""From a trajectory to steering and acceleration, and to the step that the vehicle can take with them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

_SHORT_M = 0.3
"""A way ahead of fewer metres says nothing of a direction."""
_SMALL_RAD = 1e-3
"""Arcs that turn by less are computed by their series."""


@dataclass(frozen=True)
class WaypointControllerConfig:
    """Pure pursuit (Coulter, 1992) of a trajectory, by a kinematic bicycle.

    Attributes:
        wheelbase_m: distance of the axles [m]; the default is that of nuScenes' car.
        lookahead_s: how far ahead the vehicle aims, as the time that it takes at its present speed [s].
        min_lookahead_m: least distance to the point that it aims at [m].
        max_lookahead_m: largest distance to that point [m].
        speed_horizon_s: time over which the speed follows the trajectory [s]. Over a longer time it is smoother, and
            reacts later.
        standstill_m_s: a trajectory that is slower than this over that time, on average, is one of standing [m/s]. The
            vehicle then stops, as in TransFuser (Chitta et al., 2023), and does not creep over a stop line.
        max_steering_rad: limit of the angle of the front wheels [rad].
        max_acceleration: limit of the acceleration [m/s2].
        max_deceleration: limit of braking, which a car reaches on dry ground [m/s2].
        comfortable_deceleration: braking harder than this, which the trajectory makes necessary somewhere, begins at
            once and is not put off [m/s2].
        max_lateral_acceleration: limit of the acceleration to the side, which bounds steering at speed [m/s2].
    """

    wheelbase_m: float = 2.588
    lookahead_s: float = 1.0
    min_lookahead_m: float = 3.0
    max_lookahead_m: float = 15.0
    speed_horizon_s: float = 1.5
    standstill_m_s: float = 0.4
    max_steering_rad: float = 0.6
    max_acceleration: float = 3.0
    max_deceleration: float = 8.0
    comfortable_deceleration: float = 2.5
    max_lateral_acceleration: float = 4.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < inf:
                raise ValueError(f"controller.{name}={value} must be greater than 0, and finite")
        if self.min_lookahead_m > self.max_lookahead_m:
            raise ValueError(
                f"controller.min_lookahead_m={self.min_lookahead_m} exceeds max_lookahead_m={self.max_lookahead_m}; "
                "raise that, or lower this"
            )


class Controls(NamedTuple):
    """What the driver does. All (B,).

    Attributes:
        steering: angle of the front wheels, to the left where positive [rad].
        acceleration: along the road [m/s2], negative where the vehicle brakes.
        throttle: share of the largest acceleration, in [0, 1].
        brake: share of the hardest braking, in [0, 1].
    """

    steering: Tensor
    acceleration: Tensor
    throttle: Tensor
    brake: Tensor


class WaypointController:
    """Steering and acceleration that follow waypoints, which lie one control step apart.

    Args:
        config: geometry and limits of the vehicle.
        rate_hz: control rate [Hz].
    """

    def __init__(self, config: WaypointControllerConfig | None = None, rate_hz: float = 2.0) -> None:
        self.config = config or WaypointControllerConfig()
        self.rate_hz = rate_hz

    def controls(self, waypoints: Tensor, speed: Tensor) -> Controls:
        """Return the controls of now.

        Args:
            waypoints: (B, H, 2 or more) x and y [m] of the next H control steps in the vehicle's frame of now, whose
                origin is the middle of the rear axle.
            speed: (B,) of now [m/s].

        Raises:
            ValueError: if the shapes do not fit.
        """
        if waypoints.dim() != 3 or waypoints.shape[-1] < 2 or speed.shape != waypoints.shape[:1]:
            raise ValueError(
                f"waypoints {tuple(waypoints.shape)} and speed {tuple(speed.shape)} must be (B, H, 2 or 3) and (B,)"
            )
        config, path = self.config, waypoints[..., :2]
        lookahead = (speed * config.lookahead_s).clamp(config.min_lookahead_m, config.max_lookahead_m)
        steering = self._steering(_point_at(path, lookahead), speed)
        acceleration = self._acceleration(path, speed)
        zero = torch.zeros_like(acceleration)
        throttle = torch.maximum(acceleration, zero) / config.max_acceleration
        brake = torch.maximum(-acceleration, zero) / config.max_deceleration
        return Controls(steering, acceleration, throttle, brake)

    def first_step(self, waypoints: Tensor, speed: Tensor) -> Tensor:
        """Return the step (B, 3), forward and left [m] and turn [rad], of the next control step with these controls.

        Arguments are those of `controls`.
        """
        controls, duration = self.controls(waypoints, speed), 1.0 / self.rate_hz
        until_rest = speed / (-controls.acceleration).clamp(min=1e-6)
        moving = torch.where(controls.acceleration < 0, until_rest.clamp(max=duration), duration)
        way = (speed * moving + 0.5 * controls.acceleration * moving.square()).clamp(min=0.0)
        turn = way * torch.tan(controls.steering) / self.config.wheelbase_m
        small = turn.abs() < _SMALL_RAD
        safe = torch.where(small, 1.0, turn)
        forward = torch.where(small, 1.0 - turn.square() / 6.0, torch.sin(safe) / safe)
        left = torch.where(small, 0.5 * turn, (1.0 - torch.cos(safe)) / safe)
        return torch.stack([way * forward, way * left, turn], dim=-1)

    def _steering(self, target: Tensor, speed: Tensor) -> Tensor:
        """The angle (B,) of the arc from the rear axle to a point (B, 2), within the limits."""
        config, square = self.config, target.square().sum(dim=-1)
        curvature = 2.0 * target[:, 1] / square.clamp(min=_SHORT_M**2)
        curvature = torch.where(square > _SHORT_M**2, curvature, 0.0)
        limit = config.max_lateral_acceleration / speed.square().clamp(min=1.0)
        steering = torch.atan(config.wheelbase_m * curvature.clamp(-limit, limit))
        return steering.clamp(-config.max_steering_rad, config.max_steering_rad)

    def _acceleration(self, path: Tensor, speed: Tensor) -> Tensor:
        """The acceleration (B,) that covers the way of the first steps in their time, or brakes in time for later ones.

        It lies within the limits.
        """
        steps = min(path.shape[1], max(1, round(self.config.speed_horizon_s * self.rate_hz)))
        time = steps / self.rate_hz
        way = _lengths(path)[:, :steps].sum(dim=1)
        wanted = 2.0 * (way - speed * time) / time**2
        stands = way < max(_SHORT_M, self.config.standstill_m_s * time)
        at_rest = stands | (2.0 * way < speed * time)  # the vehicle has to stand before the time is over
        stopping = -0.5 * speed.square() / way.clamp(min=_SHORT_M)
        stopping = torch.where(stands, torch.minimum(stopping, -speed * self.rate_hz), stopping)
        wanted = torch.where(at_rest, stopping, wanted)
        needed = self._needed_braking(path, speed)
        wanted = torch.where(needed > self.config.comfortable_deceleration, torch.minimum(wanted, -needed), wanted)
        return wanted.clamp(-self.config.max_deceleration, self.config.max_acceleration)

    def _needed_braking(self, path: Tensor, speed: Tensor) -> Tensor:
        """The least constant deceleration (B,) with which no part of the path is faster than the path has it."""
        pieces = _lengths(path)
        excess = speed[:, None].square() - (pieces * self.rate_hz).square()
        return (0.5 * excess / pieces.cumsum(dim=1).clamp(min=_SHORT_M)).amax(dim=1)


def _lengths(path: Tensor) -> Tensor:
    """Lengths (B, H) of the pieces of a path (B, H, 2) that begins at the origin."""
    before = torch.cat([torch.zeros_like(path[:, :1]), path[:, :-1]], dim=1)
    return (path - before).norm(dim=-1)


def _point_at(path: Tensor, distance: Tensor) -> Tensor:
    """The point (B, 2) at a distance (B,) along a path (B, H, 2) from the origin; its end where it is shorter."""
    pieces = _lengths(path)
    ends = pieces.cumsum(dim=1)
    index = (ends < distance[:, None]).sum(dim=1).clamp(max=path.shape[1] - 1)[:, None]
    corners = torch.cat([torch.zeros_like(path[:, :1]), path], dim=1)
    start, end = (corners.gather(1, (index + i)[..., None].expand(-1, 1, 2))[:, 0] for i in (0, 1))
    begun = ends.gather(1, index)[:, 0] - pieces.gather(1, index)[:, 0]
    share = (distance - begun) / pieces.gather(1, index)[:, 0].clamp(min=1e-6)
    return start + share.clamp(0.0, 1.0)[:, None] * (end - start)
