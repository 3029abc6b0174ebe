"""What the navigator says at each control step of a scene.

Files of nuScenes hold no commands. Those that our own writer put beside the CAN files come first, then turns of the
route that was planned before the drive, where the car keeps to it. Else, as works on nuScenes have it, commands follow
from where the car is three seconds later. These look ahead at what is to be predicted: results with them are those of a
policy that is told where it goes.

Neither a route nor a path says where junctions are, so that `straight` is told by our own files alone, and a bend of a
road may count as a turn.
"""

from __future__ import annotations

from functools import partial
from typing import get_args

import numpy as np

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.files import REMEDY
from tempovla.data.nuscenes.layout import SIDECAR_MARK
from tempovla.data.nuscenes.motion import Motion
from tempovla.data.nuscenes.options import Commands
from tempovla.data.nuscenes.poses import Array, inverse, planar, yaws
from tempovla.data.nuscenes.scenes import Scene
from tempovla.storage.json_files import shown
from tempovla.timeline.driving import Command

LOOK_AHEAD_M = 25.0
"""How far along the route the navigator looks [m]."""
TURN_RAD = np.deg2rad(35.0)
"""A route that changes its direction by more within that distance turns [rad]."""
LARGEST_GAP_M = 5.0
"""From a route that is further away anywhere, the scene's car does not keep to it [m]."""
PATH_SECONDS = 3.0
PATH_LATERAL_M = 2.0
"""A path that ends further to a side turns to it [m]."""

_SPACING_M = 1.0
_CHORD_M = 5.0


def read_commands(
    can: CanBus, scene: Scene, motion: Motion, rate_hz: float, wanted: Commands = "told"
) -> list[Command]:
    """Return the command of each control step.

    Args:
        can: the scene's messages.
        scene: the scene.
        motion: of its car.
        rate_hz: control rate [Hz].
        wanted: see `NuScenesOptions.commands`.

    Raises:
        DatasetError: if a file of them is damaged.
    """
    by_path = partial(path_commands, motion.poses, round(PATH_SECONDS * rate_hz))
    if wanted == "path":
        return by_path()
    told = can.per_key_frame("commands", len(scene.times_us))
    if told is not None:
        unknown = next((command for command in told if command not in get_args(Command)), None)
        if unknown is not None:
            path = can.path(f"{SIDECAR_MARK}commands")
            raise DatasetError(f"{path}: holds {shown(unknown)}, none of {', '.join(get_args(Command))}; {REMEDY}")
        return [told[row] for row in np.searchsorted(scene.times_us, motion.steps_us, side="right") - 1]
    route = can.route()
    turns = None if route is None else route_commands(route, motion.poses)
    return turns if turns is not None else by_path()


def route_commands(route: Array, poses: Array) -> list[Command] | None:
    """Return commands by the turns of a route within `LOOK_AHEAD_M`.

    Args:
        route: (M, 2) points in the global frame [m].
        poses: (L, 4, 4) of the car.

    Returns:
        one command a pose; None where the car does not keep to the route.
    """
    points, directions = _resampled(route)
    if not len(points):
        return None
    commands: list[Command] = []
    place = 0
    for pose in poses:
        ahead = np.linalg.norm(points[place:] - pose[:2, 3], axis=1)
        if ahead.min() > LARGEST_GAP_M:
            return None
        near = np.flatnonzero(ahead <= ahead.min() + _SPACING_M)[0]  # the first pass of a route that crosses itself
        place += int(near)
        view = directions[place : place + round(LOOK_AHEAD_M / _SPACING_M)]
        change = np.unwrap(np.append(yaws(pose), view))[1:] - yaws(pose)
        furthest = change[np.abs(change).argmax()]
        commands.append(_side(furthest, TURN_RAD))
    return commands


def path_commands(poses: Array, horizon: int) -> list[Command]:
    """Return commands by where the car is so many steps later, or at the end of the scene, if that is sooner.

    Args:
        poses: (L, 4, 4) of the car.
        horizon: steps to look ahead.
    """
    later = poses[np.minimum(np.arange(len(poses)) + horizon, len(poses) - 1)]
    return [_side(left, PATH_LATERAL_M) for left in planar(inverse(poses) @ later)[:, 1]]


def _side(value: float, limit: float) -> Command:
    return "left" if value > limit else "right" if value < -limit else "follow"


def _resampled(route: Array) -> tuple[Array, Array]:
    """Points (N, 2) of a route at equal distances, and its directions (N,) there [rad]; N is 0 for a single point."""
    steps = np.linalg.norm(np.diff(route, axis=0), axis=1)
    kept = np.append(True, steps > 0)
    route, along = route[kept], np.append(0.0, np.cumsum(steps[steps > 0]))
    if len(route) < 2:
        return np.empty((0, 2)), np.empty(0)
    places = np.arange(0.0, along[-1], _SPACING_M)
    x, y = (np.interp(places, along, route[:, axis]) for axis in (0, 1))
    dx, dy = (
        np.interp(places + _CHORD_M / 2, along, route[:, axis])
        - np.interp(places - _CHORD_M / 2, along, route[:, axis])
        for axis in (0, 1)
    )
    return np.stack([x, y], axis=1), np.arctan2(dy, dx)
