"""An object that is moved in the middle of an episode, so that plans which were made before no longer fit.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_STREAM = 0xD157


@dataclass(frozen=True)
class Disturbance:
    """At one control step of every episode the object of the task is moved along the table.

    The direction follows from the seed of the episode alone, so that all policies meet the same disturbance.

    Attributes:
        step: number of control steps before it.
        shift_m: how far the object is moved [m].
    """

    step: int
    shift_m: float = 0.05

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError(f"disturb_step={self.step} must not be negative; 0 is before the first action")
        if not 0 < self.shift_m < math.inf:
            raise ValueError(f"disturb_shift_m={self.shift_m} must be a distance in metres, greater than 0")

    def shift(self, seed: int) -> np.ndarray:
        """Return the displacement (2,) float64 along the table [m], of the episode that this seed began."""
        angle = np.random.default_rng([seed, _STREAM]).uniform(0.0, 2.0 * math.pi)
        return self.shift_m * np.array([math.cos(angle), math.sin(angle)])


def move_free_objects(model: Any, data: Any, shift: np.ndarray, joints: tuple[str, ...] | None = None) -> bool:
    """Move the bodies of a MuJoCo simulation that nothing holds in place, and stop them; return whether there are any.

    Args:
        model: `mujoco.MjModel`.
        data: `mujoco.MjData`.
        shift: (2,) displacement along x and y [m].
        joints: names of the free joints of these bodies; None takes all.
    """
    import mujoco

    moved = False
    for joint in range(model.njnt):
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            continue
        if joints is not None and model.joint(joint).name not in joints:
            continue
        position, velocity = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        data.qpos[position : position + 2] += shift
        data.qvel[velocity : velocity + 6] = 0.0
        moved = True
    if moved:
        mujoco.mj_forward(model, data)
    return moved
