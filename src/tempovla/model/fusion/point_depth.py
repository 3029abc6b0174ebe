"""Depths of the features of pictures, from LiDAR points that cameras see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tempovla.model.layers.dtype import sums_dtype
from tempovla.model.sensor.project import project


@torch.no_grad()
def projected_depth(
    points: Tensor,
    valid: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    size: Sequence[int],
    stride: int = 8,
    camera_valid: Tensor | None = None,
) -> Tensor:
    """Return the depth (B, n, h, w) [m] of the nearest point in each feature of each camera; 0 where there is none.

    These can teach the depths that `LiftSplat` predicts, or take their place.

    Args:
        points: (B, N, 3 or more) x, y and z [m] in the vehicle's frame.
        valid: (B, N) bool, which points are there. What the others hold changes nothing.
        intrinsics: (B, n, 3, 3), see `Lift.forward`.
        poses: (B, n, 4, 4), see `Lift.forward`.
        size: rows h and columns w of the features.
        stride: pixels of a picture along each side of a feature.
        camera_valid: (B, n) bool, which cameras work; None where all do.
    """
    points = torch.where(valid[..., None], points[..., :3], 0.0)
    points, intrinsics, poses = (each.to(sums_dtype(each.dtype)) for each in (points, intrinsics, poses))
    seen = project(points, intrinsics, poses)
    column, row = seen.column / stride, seen.row / stride
    inside = seen.ahead & valid[:, None] & (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    if camera_valid is not None:
        inside = inside & camera_valid[..., None]
    batch, camera, point = inside.nonzero(as_tuple=True)
    column, row, depth = (each[batch, camera, point] for each in (column, row, seen.depth))
    view = batch * inside.shape[1] + camera
    index = (view * size[0] + row.long()) * size[1] + column.long()
    nearest = depth.new_zeros(inside.shape[0] * inside.shape[1] * size[0] * size[1])
    nearest = nearest.scatter_reduce(0, index, depth, "amin", include_self=False)
    return nearest.view(*inside.shape[:2], *size)
