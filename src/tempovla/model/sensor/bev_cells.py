"""Points and features in the cells of a bird's eye view."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tempovla.model.sensor.bev import BEVGridConfig


class BEVFeatures(NamedTuple):
    """Features in the cells of a grid.

    Attributes:
        features: (B, C, H, W), 0 in cells that nothing was found in.
        occupied: (B, H, W) bool, where something was found.
    """

    features: Tensor
    occupied: Tensor


def cell_indices(grid: BEVGridConfig, points: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the cells (...) int64 that points lie in, and whether (...) bool they lie in the grid and are valid.

    Cells are row * columns + column; where a point lies in none the number is 0.

    Args:
        grid: the cells.
        points: (..., 2 or 3) x, y and maybe z [m] in the vehicle's frame. Points without a height are never too high
            or low.
        valid: (...) bool, which points are there; None where all are. What the others hold changes nothing.
    """
    row, column = grid.to_grid(points[..., 0], points[..., 1])
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    if points.shape[-1] > 2:
        inside = inside & (points[..., 2] >= grid.z_min) & (points[..., 2] < grid.z_max)
    if valid is not None:
        inside = inside & valid
    row, column = (torch.where(inside, each, 0.0).floor().long() for each in (row, column))
    return row * grid.columns + column, inside


def cell_centres(
    grid: BEVGridConfig, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return x and y (H, W, 2) [m] of the centres of all cells."""
    rows = torch.arange(grid.rows, device=device, dtype=dtype) + 0.5
    columns = torch.arange(grid.columns, device=device, dtype=dtype) + 0.5
    x, y = grid.to_world(rows, columns)
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1)


def batch_cells(cells: Tensor, num_cells: int) -> Tensor:
    """Return cells (B, ...) int64 numbered over the whole batch: those of row b begin with b * num_cells."""
    first = torch.arange(cells.shape[0], device=cells.device) * num_cells
    return cells + first.view(-1, *[1] * (cells.dim() - 1))


def marked(cells: Tensor, count: int) -> Tensor:
    """Return which of `count` cells are among cells (N,) int64, as (count,) bool."""
    yes = torch.ones((), dtype=torch.bool, device=cells.device)  # TorchScript knows no index_fill by a bool
    return torch.zeros(count, dtype=torch.bool, device=cells.device).index_put((cells,), yes)


def as_map(grid: BEVGridConfig, cells: Tensor, batch: int) -> Tensor:
    """Return features (B, C, H, W) from those of all cells (B H W, C)."""
    return cells.view(batch, grid.rows, grid.columns, -1).permute(0, 3, 1, 2)
