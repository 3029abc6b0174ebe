"""Boxes in the plane as cells of a bird's eye view."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import batch_cells, cell_centres, cell_indices, marked
from tempovla.timeline.trajectory import rotate


def covered_cells(grid: BEVGridConfig, boxes: Tensor, valid: Tensor) -> Tensor:
    """Return which cells (B, H, W) bool are covered by a box.

    A cell is covered if its centre lies in a box, and so is the cell that holds the centre of a box, such as that of a
    pedestrian who is smaller than a cell.

    Args:
        grid: the cells.
        boxes: (B, N, 5) centre x and y [m], heading [rad], length and width [m] in the vehicle's frame.
        valid: (B, N) bool, which boxes are there. What the others hold changes nothing.
    """
    boxes = torch.where(valid[..., None], boxes, 0.0)
    centres = cell_centres(grid, device=boxes.device, dtype=boxes.dtype).view(1, 1, -1, 2)
    away = centres - boxes[..., None, :2]
    along, aside = rotate(away[..., 0], away[..., 1], -boxes[..., 2:3])
    inside = (along.abs() <= boxes[..., 3:4] / 2) & (aside.abs() <= boxes[..., 4:5] / 2)
    covered = (inside & valid[..., None]).any(dim=1)
    cells, on_grid = cell_indices(grid, boxes[..., :2], valid)
    held = marked(batch_cells(cells, grid.num_cells)[on_grid], len(boxes) * grid.num_cells)
    return (covered | held.view_as(covered)).view(-1, grid.rows, grid.columns)
