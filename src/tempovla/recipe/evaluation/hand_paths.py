"""Where a plan takes the hand: in space, for bodies that name its position and its displacements, and in pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tempovla.env.protocol import Calibrated, SimulatorConfig
from tempovla.timeline import Embodiment
from tempovla.timeline.calibration import CameraCalibration

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
NEAREST_M = 1e-3
"""Points that are no farther in front of a camera than this are not drawn."""


@dataclass(frozen=True)
class HandMotion:
    """Where states hold the position of the hand, and actions its displacement; each as (place, unit [m]) of x, y, z.

    A displacement is that of one control step.
    """

    position: tuple[tuple[int, float], ...]
    displacement: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, body: Embodiment) -> Self | None:
        """Return what the names of a body say, such as `hand_x [m]` and `hand_dx [cm]`; None if they say nothing."""
        position = _axes(body.state_names, "hand_")
        displacement = _axes(body.action_names, "hand_d")
        return None if position is None or displacement is None else cls(position, displacement)

    def paths(self, states: NDArray, actions: NDArray, stride: int) -> NDArray[np.float64]:
        """Return the places (N, H + 1, 3) [m] of the hand at N decisions, and after each of H planned actions.

        Args:
            states: (N, D) at the decisions.
            actions: (N, H, A) that are planned, in the body's units.
            stride: control steps for which each action is done.
        """
        start = np.stack([unit * states[:, place].astype(np.float64) for place, unit in self.position], axis=-1)
        moves = [stride * unit * actions[..., place].astype(np.float64) for place, unit in self.displacement]
        return np.concatenate([start[:, None], start[:, None] + np.stack(moves, axis=-1).cumsum(axis=1)], axis=1)


def _axes(names: Sequence[str], prefix: str) -> tuple[tuple[int, float], ...] | None:
    """The place and the unit [m] of x, y and z among names such as `hand_x [m]`; None unless all are there."""
    found = {}
    for place, name in enumerate(names):
        if match := re.fullmatch(rf"{prefix}([xyz]) \[(m|cm|mm)\]", name):
            found[match[1]] = (place, METRES[match[2]])
    return tuple(found[axis] for axis in "xyz") if len(found) == 3 else None


def fixed_cameras(env_config: SimulatorConfig, task: str) -> tuple[CameraCalibration, ...]:
    """Return the calibrations of the cameras that stand still in the world; none if the simulator knows of none."""
    options = {"render": False} if "render" in env_config.__dataclass_fields__ else {}
    env = replace(env_config, task=task, **options).make()
    if not isinstance(env, Calibrated):
        return ()
    env.reset_state(seed=0)
    return tuple(camera for camera in env.calibrations() if camera.pose is not None and camera.frame == "world")


def projected(points: NDArray, camera: CameraCalibration) -> NDArray[np.float64]:
    """Return where a camera sees points (..., 3) [m] of the world, (..., 2) in pixels from the picture's upper left
    corner to the right and down; NaN for points that are not in front of it.
    """
    assert camera.pose is not None
    pose = np.array(camera.pose)
    x, y, z = np.moveaxis((points - pose[:3, 3]) @ pose[:3, :3], -1, 0)
    depth = np.where(z > NEAREST_M, z, np.nan)
    return np.stack([camera.fx * x / depth + camera.cx, camera.fy * y / depth + camera.cy], axis=-1)
