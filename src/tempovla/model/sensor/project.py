"""Where cameras see points: the pinhole camera's geometry on tensors, the inverse of `unproject`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_NEAREST = 0.1
"""Points that are nearer to a camera's plane are not seen [m]."""


class Projected(NamedTuple):
    """Where n cameras see P points.

    Attributes:
        column: (B, n, P) [px], whole plus 1/2 in the middle of a pixel.
        row: (B, n, P) [px], likewise.
        depth: (B, n, P) along the optical axis [m]; 1 for points that are not ahead.
        ahead: (B, n, P) bool, whether a point is in front of the camera; it may still be beside the picture.
    """

    column: Tensor
    row: Tensor
    depth: Tensor
    ahead: Tensor


def project(points: Tensor, intrinsics: Tensor, poses: Tensor) -> Projected:
    """Return where cameras see points.

    A matrix product would lose millimetres, or under autocast centimetres, to its shorter numbers.

    Args:
        points: (B or 1, P, 3) x, y and z [m] in the frame into which the poses map.
        intrinsics: (B, n, 3, 3) [px].
        poses: (B, n, 4, 4) which map points from the cameras' frames (x right, y down, z forward).
    """
    offsets = [points[:, None, :, axis] - poses[:, :, None, axis, 3] for axis in range(3)]
    turned = [offsets[0] * poses[:, :, None, 0, axis] for axis in range(3)]  # by the inverse rotation
    for place in (1, 2):
        turned = [each + offsets[place] * poses[:, :, None, place, axis] for axis, each in enumerate(turned)]
    x, y, depth = turned
    ahead = depth > _NEAREST
    depth = torch.where(ahead, depth, 1.0)
    fx, fy, cx, cy, skew = (intrinsics[..., i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    return Projected((fx * x + skew * y) / depth + cx, fy * y / depth + cy, depth, ahead)
