"""The six cameras around the car: their poses and intrinsics are about those of nuScenes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.driving import CONTROL_RATE_HZ, SURROUND_CAMERAS
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

_WIDTH_PX, _HEIGHT_PX = 1600, 900
"""Of the pictures in which focal lengths are given."""
_CENTRE_PX = (816.27, 491.5)


@dataclass(frozen=True)
class Mounting:
    """Where a camera sits in the ego frame.

    Attributes:
        channel: its name in nuScenes' files.
        position: x, y, z [m].
        yaw_deg: direction that it looks in, to the left of the front [degrees].
        focal_px: focal length for pictures 1600 pixels wide [px].
    """

    channel: str
    position: tuple[float, float, float]
    yaw_deg: float
    focal_px: float


MOUNTINGS: dict[str, Mounting] = {
    "front": Mounting("CAM_FRONT", (1.70, 0.02, 1.51), 0.3, 1266.4),
    "front_right": Mounting("CAM_FRONT_RIGHT", (1.55, -0.49, 1.50), -56.0, 1260.8),
    "back_right": Mounting("CAM_BACK_RIGHT", (1.02, -0.48, 1.56), -110.0, 1259.5),
    "back": Mounting("CAM_BACK", (0.03, 0.0, 1.58), 180.0, 809.2),
    "back_left": Mounting("CAM_BACK_LEFT", (1.04, 0.49, 1.59), 108.5, 1256.7),
    "front_left": Mounting("CAM_FRONT_LEFT", (1.52, 0.49, 1.51), 55.0, 1272.6),
}
assert tuple(MOUNTINGS) == SURROUND_CAMERAS


def rotation_of(camera: str) -> np.ndarray:
    """Return the (3, 3) matrix from a camera's frame (x right, y down, z forward) to the ego frame."""
    yaw = math.radians(MOUNTINGS[camera].yaw_deg)
    forward = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return np.stack([right, [0.0, 0.0, -1.0], forward], axis=1)


def intrinsics_of(camera: str, width: int, height: int) -> np.ndarray:
    """Return the (3, 3) intrinsics for pictures of a size; what is too high is cut off above and below [px]."""
    scale = width / _WIDTH_PX
    focal = MOUNTINGS[camera].focal_px * scale
    cut = (_HEIGHT_PX * scale - height) / 2
    return np.array([[focal, 0.0, _CENTRE_PX[0] * scale], [0.0, focal, _CENTRE_PX[1] * scale - cut], [0.0, 0.0, 1.0]])


def calibration_of(camera: str, width: int, height: int, *, depth: bool = False) -> CameraCalibration:
    """Return the calibration of a camera's pictures, or of its distances; its pose is that in the ego frame."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_of(camera), MOUNTINGS[camera].position
    matrix = intrinsics_of(camera, width, height)
    return CameraCalibration(
        (DEPTH_KEY_PREFIX if depth else IMAGE_KEY_PREFIX) + camera,
        width,
        height,
        float(matrix[0, 0]),
        float(matrix[1, 1]),
        float(matrix[0, 2]),
        float(matrix[1, 2]),
        tuple(tuple(float(value) for value in row) for row in pose),
        frame="base",
        rate_hz=CONTROL_RATE_HZ,
    )


def camera_xml(camera: str, width: int, height: int) -> str:
    """Return MuJoCo's element of a camera; its frame has y up and z backward, and its principal point is turned."""
    axes = rotation_of(camera) @ np.diag([1.0, -1.0, -1.0])
    matrix = intrinsics_of(camera, width, height)
    shift = width / 2 - matrix[0, 2], matrix[1, 2] - height / 2
    x, y, z = MOUNTINGS[camera].position
    right, up = axes[:, 0], axes[:, 1]
    numbers = " ".join(f"{value:.9f}" for value in (*right, *up))
    return (
        f'<camera name="{camera}" pos="{x} {y} {z}" xyaxes="{numbers}" resolution="{width} {height}" '
        f'focalpixel="{matrix[0, 0]:.6f} {matrix[1, 1]:.6f}" principalpixel="{shift[0]:.6f} {shift[1]:.6f}" '
        f'sensorsize="{width * 1e-5:.8f} {height * 1e-5:.8f}"/>'
    )
