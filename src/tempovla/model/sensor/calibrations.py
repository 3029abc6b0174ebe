"""The calibrations of several views as tensors, from the bodies that the rows of a batch belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.task import Embodiment, Task


class CalibrationError(ValueError):
    """A calibration is needed that is not known.

    Args:
        lack: what is missing, in one line.
        remedy: what to do about it where data are recorded and models trained.

    Attributes:
        lack: see above.
    """

    def __init__(self, lack: str, remedy: str) -> None:
        super().__init__(lack, remedy)
        self.lack = lack

    def __str__(self) -> str:
        return "; ".join(self.args)


@dataclass(frozen=True)
class ViewCameras:
    """Calibrations of V views of B rows.

    Attributes:
        intrinsics: (B, V, 3, 3) float32, for pictures of the size that was asked for; None unless all are known.
        extrinsics: (B, V, 4, 4) float32, the cameras' poses; None unless all are known.
    """

    intrinsics: Tensor | None
    extrinsics: Tensor | None

    def expand(self, rows: int) -> ViewCameras:
        """Return those of one row (1, V, ...) for several."""
        both = (self.intrinsics, self.extrinsics)
        return ViewCameras(*(None if each is None else each.expand(rows, -1, -1, -1) for each in both))


def view_cameras(
    tasks: Sequence[Task],
    streams: Sequence[str],
    size: tuple[int, int],
    *,
    needs_intrinsics: bool = False,
    needs_extrinsics: bool = False,
    device: torch.device | str = "cpu",
) -> ViewCameras:
    """Return the calibrations of some streams for the rows of a batch.

    What one view lacks is None for all of them, and never an identity.

    Args:
        tasks: of the rows; their bodies hold the calibrations.
        streams: keys of the views, in order.
        size: height and width of the pictures that the model sees, which were resized as a whole [px].
        needs_intrinsics: whether missing intrinsics are an error.
        needs_extrinsics: whether missing poses are an error.
        device: where the tensors are to live.

    Raises:
        CalibrationError: in one line, naming the body and the stream whose calibration is needed and not known.
    """
    bodies = {id(task.embodiment): task.embodiment for task in tasks}  # to hash one for every row would take long
    asked = tuple(streams), size, needs_intrinsics, needs_extrinsics, torch.device(device)
    found = {key: _of_body(body, *asked) for key, body in bodies.items()}
    rows = [found[id(task.embodiment)] for task in tasks]
    return ViewCameras(_stacked([row[0] for row in rows]), _stacked([row[1] for row in rows]))


def _stacked(rows: Sequence[Tensor | None]) -> Tensor | None:
    known = [row for row in rows if row is not None]
    return torch.stack(known) if known and len(known) == len(rows) else None


@lru_cache(maxsize=64)
def _of_body(
    body: Embodiment,
    streams: tuple[str, ...],
    size: tuple[int, int],
    needs_intrinsics: bool,
    needs_extrinsics: bool,
    device: torch.device,
) -> tuple[Tensor | None, Tensor | None]:
    """Intrinsics (V, 3, 3) and poses (V, 4, 4) of one body, kept on the device, which so is not waited for again."""
    cameras = [body.camera(stream) for stream in streams]
    for stream, camera in zip(streams, cameras, strict=True):
        if needs_intrinsics and camera is None:
            raise CalibrationError(
                f"{stream!r} of {body.name or 'the robot'!r} has no calibration, which the geometry encoder needs",
                "record the dataset with calibrated cameras, or use geometry.kind=latent",
            )
        if needs_extrinsics and (camera is None or camera.pose is None):
            raise CalibrationError(
                f"{stream!r} of {body.name or 'the robot'!r} has no fixed pose, which points in a common frame need",
                "leave the camera out, or set geometry.frame=camera",
            )
    known: list[CameraCalibration] = [camera for camera in cameras if camera is not None]
    if len(known) < len(cameras) or not known:
        return None, None
    height, width = size
    intrinsics = torch.tensor(
        [camera.intrinsics(width, height) for camera in known], dtype=torch.float32, device=device
    )
    poses = [camera.pose for camera in known if camera.pose is not None]
    frames = {camera.frame for camera in known}
    if len(poses) < len(known) or len(frames) > 1:
        return intrinsics, None
    return intrinsics, torch.tensor(poses, dtype=torch.float32, device=device)
