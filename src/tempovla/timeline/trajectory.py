"""Trajectories of a vehicle in the plane: steps from one pose to the next, and the poses that they lead to.

A pose is x [m], y [m] and heading [rad] in some frame, x forward and y to the left. A step is the pose of the vehicle
at the next control step in its frame at this one: forward, left and turn. Angles are not wrapped, so that composing
steps and taking differences undo each other exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

POSE_DIM = 3
"""Numbers of a pose or a step."""
TYPICAL_SPEED_M_S = 5.0
"""Mean and spread of the speed in a city, by which the way forward is centred and scaled."""
LATERAL_FLOOR_M, LATERAL_GROWTH_M_S2 = 0.1, 0.3
"""Spread of the way to the side: it grows with the square of the time, as on an arc."""
TURN_FLOOR_RAD, TURN_GROWTH_RAD_S = 0.05, 0.15
"""Spread of the heading, which grows with the time."""


def compose(pose: Tensor, step: Tensor) -> Tensor:
    """Return the pose (..., 3) after a step (..., 3) that is given in the frame of `pose` (..., 3)."""
    forward, left = rotate(step[..., 0], step[..., 1], pose[..., 2])
    return torch.stack([pose[..., 0] + forward, pose[..., 1] + left, pose[..., 2] + step[..., 2]], dim=-1)


def relative(pose: Tensor, origin: Tensor) -> Tensor:
    """Return `pose` (..., 3) in the frame of `origin` (..., 3), both given in one frame; the inverse of `compose`."""
    forward, left = rotate(pose[..., 0] - origin[..., 0], pose[..., 1] - origin[..., 1], -origin[..., 2])
    return torch.stack([forward, left, pose[..., 2] - origin[..., 2]], dim=-1)


def rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors turned to the left by `angle` [rad]."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return cos * x - sin * y, sin * x + cos * y


def waypoints_of(steps: Tensor) -> Tensor:
    """Return the poses (..., H, 3) after 1 to H steps (..., H, 3), in the frame in which the first step begins."""
    pose, poses = torch.zeros_like(steps[..., 0, :]), []
    for step in steps.unbind(dim=-2):
        pose = compose(pose, step)
        poses.append(pose)
    return torch.stack(poses, dim=-2)


def steps_of(waypoints: Tensor) -> Tensor:
    """Return the steps (..., H, 3) between the origin and poses (..., H, 3), one after the other."""
    before = torch.cat([torch.zeros_like(waypoints[..., :1, :]), waypoints[..., :-1, :]], dim=-2)
    return relative(waypoints, before)


def waypoint_scaling(horizon: int, rate_hz: float, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return offset and scale, each (H, 3), by which waypoints are normalised: (waypoint - offset) / scale.

    They follow from the time of each waypoint alone, and are those of driving in a city. Scales that were fitted to the
    statistics of one town would tie a policy to its speed limits and curves.

    Args:
        horizon: number H of waypoints.
        rate_hz: control rate [Hz].
        like: a tensor on the device and of the type of the result.
    """
    time = torch.arange(1, horizon + 1, device=like.device, dtype=like.dtype) / rate_hz
    forward = TYPICAL_SPEED_M_S * time
    left = LATERAL_FLOOR_M + LATERAL_GROWTH_M_S2 * time.square()
    turn = TURN_FLOOR_RAD + TURN_GROWTH_RAD_S * time
    zero = torch.zeros_like(time)
    return torch.stack([forward, zero, zero], dim=-1), torch.stack([forward, left, turn], dim=-1)


def normalized_waypoints(steps: Tensor, rate_hz: float) -> Tensor:
    """Return the normalised waypoints (..., H, 3) of steps (..., H, 3)."""
    return normalized_poses(waypoints_of(steps), rate_hz)


def normalized_poses(waypoints: Tensor, rate_hz: float) -> Tensor:
    """Return the normalised waypoints (..., H, 3) of those in metres and radians; the inverse of `metric_waypoints`."""
    offset, scale = waypoint_scaling(waypoints.shape[-2], rate_hz, like=waypoints)
    return (waypoints - offset) / scale


def metric_waypoints(normalized: Tensor, rate_hz: float) -> Tensor:
    """Return waypoints (..., H, 3) in metres and radians from normalised ones."""
    offset, scale = waypoint_scaling(normalized.shape[-2], rate_hz, like=normalized)
    return normalized * scale + offset


def valid_waypoints(valid: Tensor) -> Tensor:
    """Return (..., H) bool: a waypoint is known if all steps (..., H) up to it are."""
    return valid.cumprod(dim=-1).bool()
