"""Calibrations of MuJoCo's cameras.

Nothing here imports torch, as simulator workers load this module.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tempovla.timeline.calibration import CameraCalibration, Matrix
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

if TYPE_CHECKING:
    import mujoco


def camera_calibrations(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    camera: str,
    name: str,
    size: int,
    rate_hz: float,
    *,
    turned: bool = False,
) -> tuple[CameraCalibration, ...]:
    """Return the calibrations of a camera's pictures and of its distances, which are the same.

    Args:
        model: the compiled model.
        data: its present state; it must be up to date with the model's poses.
        camera: MuJoCo's name of the camera.
        name: its name in the streams' keys.
        size: side of the square pictures [px].
        rate_hz: rate of the pictures [Hz].
        turned: whether pictures are turned by 180 degrees to be upright.
    """
    index = model.camera(camera).id
    focal = size / 2 / float(np.tan(np.radians(model.cam_fovy[index]) / 2))
    pose = _pose(data, index, turned) if _is_fixed(model, index) else None
    of_pictures = CameraCalibration(
        IMAGE_KEY_PREFIX + name, size, size, focal, focal, size / 2, size / 2, pose, rate_hz=float(rate_hz)
    )
    return of_pictures, replace(of_pictures, stream=DEPTH_KEY_PREFIX + name)


def _is_fixed(model: mujoco.MjModel, camera: int) -> bool:
    """Whether the camera follows nothing, and its body is welded to the world."""
    import mujoco

    follows_nothing = model.cam_mode[camera] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED
    return bool(follows_nothing and model.body_weldid[model.cam_bodyid[camera]] == 0)


def _pose(data: mujoco.MjData, camera: int, turned: bool) -> Matrix:
    """The camera's pose in the world with x to the right, y down and z forward; MuJoCo has y up and z backward."""
    axes = np.diag([1.0, -1.0, -1.0] if not turned else [-1.0, 1.0, -1.0])
    pose = np.eye(4)
    pose[:3, :3] = data.cam_xmat[camera].reshape(3, 3) @ axes
    pose[:3, 3] = data.cam_xpos[camera]
    return tuple(tuple(float(value) for value in row) for row in pose)
