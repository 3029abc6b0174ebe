"""Points from depth: the pinhole camera's geometry on tensors.

Camera frames have x to the right, y down and z forward. Pixel (row r, column c) covers the square from (c, r) to
(c + 1, r + 1), so that its centre is at (c + 1/2, r + 1/2), and intrinsics are in these coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor


def scale_intrinsics(intrinsics: Tensor, size: tuple[int, int], to_size: tuple[int, int]) -> Tensor:
    """Return intrinsics (..., 3, 3) for a picture that was resized as a whole.

    Args:
        intrinsics: those of the picture before.
        size: its height and width [px].
        to_size: height and width afterwards [px].
    """
    if size == to_size:
        return intrinsics
    x, y, last = intrinsics.unbind(dim=-2)  # numbers of Python go to a GPU without waiting, unlike tensors
    return torch.stack([x * (to_size[1] / size[1]), y * (to_size[0] / size[0]), last], dim=-2)


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Return the points (..., 3, h, w) in the camera's frame that are seen at the centres of pixels.

    Args:
        depth: (..., h, w) distance along the optical axis.
        intrinsics: (..., 3, 3) for pictures of this size [px].
    """
    height, width = depth.shape[-2:]
    rows = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None] + 0.5
    columns = torch.arange(width, device=depth.device, dtype=depth.dtype) + 0.5
    fx, fy, cx, cy, skew = (intrinsics[..., i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    y = (rows - cy) / fy
    x = (columns - cx - skew * y) / fx
    return torch.stack([x * depth, y * depth, depth], dim=-3)


def transform_points(points: Tensor, pose: Tensor) -> Tensor:
    """Return points (..., 3, h, w) in the frame into which `pose` (..., 4, 4) maps.

    A matrix product would lose millimetres, or under autocast centimetres, to its shorter numbers.
    """
    moved = pose[..., :3, 3, None, None]
    for axis in range(3):
        moved = moved + pose[..., :3, axis, None, None] * points[..., axis : axis + 1, :, :]
    return moved


def masked_median(values: Tensor, valid: Tensor) -> Tensor:
    """Return the median (...) over the last dimension of the values (..., N) that are valid; 1 where none is.

    Of an even number of values it is the lower one of the two in the middle.
    """
    median = torch.where(valid, values, torch.nan).nanmedian(dim=-1).values
    return torch.where(valid.any(dim=-1), median, 1.0)
