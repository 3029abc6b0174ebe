"""Maps of the past in the vehicle's frame of now."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import cell_centres


def relative_motion(past: Tensor, now: Tensor) -> Tensor:
    """Return poses (..., 3) of `now` in the frame of `past`: x and y [m], and heading [rad].

    Args:
        past: (..., 3) x, y and heading in a common frame.
        now: (..., 3) in the same frame.
    """
    x, y = now[..., 0] - past[..., 0], now[..., 1] - past[..., 1]
    cos, sin = past[..., 2].cos(), past[..., 2].sin()
    turn = now[..., 2] - past[..., 2]
    return torch.stack([cos * x + sin * y, cos * y - sin * x, torch.atan2(turn.sin(), turn.cos())], dim=-1)


def align_bev(
    bev: Tensor, motion: Tensor, grid: BEVGridConfig, valid: Tensor | None = None, mode: str = "bilinear"
) -> tuple[Tensor, Tensor]:
    """Return maps of the past in the frame of now, and where they are known.

    Args:
        bev: (B, C, H, W) in the vehicle's frame of the past.
        motion: (B, 3) pose of the vehicle now in its frame of the past: x and y [m], and heading [rad]; see
            `relative_motion`.
        grid: the cells.
        valid: (B, H, W) bool, which cells of the past are known; None where all are. Others are as 0.
        mode: `bilinear`, or `nearest` to keep values as they are.

    Returns:
        The maps (B, C, H, W), 0 where not known, and (B, H, W) bool: whether a cell's centre was within the known cells
        of the past.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if bev.shape[-2:] != (grid.rows, grid.columns) or motion.shape != (bev.shape[0], 3):
        raise ValueError(
            f"bev {tuple(bev.shape)} and motion {tuple(motion.shape)}: give (B, C, {grid.rows}, {grid.columns}) and "
            "(B, 3)"
        )
    motion = motion if motion.dtype == torch.float64 else motion.float()
    centres = cell_centres(grid, device=motion.device, dtype=motion.dtype)
    cos, sin = motion[:, 2, None, None].cos(), motion[:, 2, None, None].sin()
    x = cos * centres[..., 0] - sin * centres[..., 1] + motion[:, 0, None, None]
    y = sin * centres[..., 0] + cos * centres[..., 1] + motion[:, 1, None, None]
    row, column = grid.to_grid(x, y)
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    where = torch.stack([column * (2.0 / grid.columns) - 1.0, row * (2.0 / grid.rows) - 1.0], dim=-1)
    where = where.clamp(-2.0, 2.0)  # far outside, numbers are as good as any that is just outside
    known = inside
    if valid is not None:
        bev = torch.where(valid[:, None], bev, 0.0)
        index = (row.clamp(0, grid.rows - 1).long() * grid.columns + column.clamp(0, grid.columns - 1).long()).flatten(
            1
        )
        known = inside & valid.flatten(1).gather(1, index).view_as(inside)
    moved = F.grid_sample(bev.to(where.dtype), where, mode=mode, padding_mode="zeros", align_corners=False)
    return torch.where(known[:, None], moved, 0.0).to(bev.dtype), known
