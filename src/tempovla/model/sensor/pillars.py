"""Points to a bird's eye view: a small PointNet over the points of each cell (PointPillars, Lang et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.grouped_rows import largest
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import BEVFeatures, as_map, batch_cells, cell_centres, cell_indices, marked
from tempovla.model.sensor.point_net import point_mlp, present


class PillarEncoder(nn.Module):
    """Points to features of the cells that they lie in: the largest values of a network over each cell's points.

    Every point is described by its numbers, its offset from the mean of its cell's points and that from the cell's
    centre.

    Args:
        grid: the cells.
        output_dim: channels C of the map.
        input_dim: numbers F of a point: its position [m] and features of about 0 to 1.
        position_dim: 3 for points with a height, as LiDAR has; 2 for targets of radars that know none.
        hidden_dim: width of the network's hidden layer.
    """

    scale: Tensor

    def __init__(
        self,
        grid: BEVGridConfig,
        output_dim: int = 64,
        input_dim: int = 4,
        position_dim: int = 3,
        hidden_dim: int = 32,
    ) -> None:
        super().__init__()
        if position_dim not in (2, 3) or input_dim < position_dim:
            raise ValueError(
                f"position_dim={position_dim} of input_dim={input_dim} numbers: give 2 or 3, and no more than there are"
            )
        self.grid, self.input_dim, self.position_dim, self.output_dim = grid, input_dim, position_dim, output_dim
        self.register_buffer("scale", _extent(grid, position_dim), persistent=False)
        self.mlp = point_mlp((input_dim + position_dim + 2, hidden_dim, output_dim))

    def forward(self, points: Tensor, valid: Tensor | None = None) -> BEVFeatures:
        """Return the map (B, C, H, W) and which cells hold points.

        Args:
            points: (B, N, F); points with a number that is not finite are not there.
            valid: (B, N) bool, which points are there; None where all are. What the others hold changes nothing.

        Raises:
            ValueError: if the shapes do not fit.
        """
        if points.shape[-1] != self.input_dim:
            raise ValueError(f"points {tuple(points.shape)} have {points.shape[-1]} numbers each, not {self.input_dim}")
        points, valid = present(points, valid)
        batch = points.shape[0]
        cells, inside = cell_indices(self.grid, points[..., : self.position_dim], valid)
        cells, points = batch_cells(cells, self.grid.num_cells)[inside], points[inside]  # (P,) and (P, F)
        number = batch * self.grid.num_cells
        seen = self.mlp(in_dtype_of(self.mlp, self._described(points, cells, number)))
        features = largest(seen, cells, number)
        occupied = marked(cells, number).view(batch, self.grid.rows, self.grid.columns)
        return BEVFeatures(as_map(self.grid, features, batch), occupied)

    def _described(self, points: Tensor, cells: Tensor, number: int) -> Tensor:
        """Points (P, F) with their offsets from their cell's mean and centre, in cells' sides."""
        positions = points[:, : self.position_dim]
        counts = positions.new_zeros(number).index_add(0, cells, torch.ones_like(positions[:, 0]))
        sums = positions.new_zeros(number, self.position_dim).index_add(0, cells, positions)
        means = (sums / counts.clamp(min=1.0)[:, None])[cells]
        centres = cell_centres(self.grid, device=points.device, dtype=points.dtype).view(-1, 2)
        offsets = torch.cat([positions - means, positions[:, :2] - centres[cells % self.grid.num_cells]], dim=-1)
        described = [positions / self.scale, points[:, self.position_dim :], offsets / self.grid.resolution]
        return torch.cat(described, dim=-1)


def _extent(grid: BEVGridConfig, position_dim: int) -> Tensor:
    """The largest coordinates (2 or 3) of the grid."""
    ends = ((grid.x_min, grid.x_max), (grid.y_min, grid.y_max), (grid.z_min, grid.z_max))[:position_dim]
    return torch.tensor([max(map(abs, pair)) for pair in ends])
