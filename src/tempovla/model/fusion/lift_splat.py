"""Features of pictures in the cells of a bird's eye view, with the calibration of the cameras."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.bev_config import LiftConfig
from tempovla.model.layers.dtype import in_dtype_of, sums_dtype
from tempovla.model.layers.grouped_rows import weighted_sums
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import BEVFeatures, as_map, batch_cells, cell_centres, cell_indices, marked
from tempovla.model.sensor.project import project


class Lift(nn.Module, ABC):
    """Base of what brings features of pictures into a bird's eye view.

    Args:
        grid: the cells.
        feature_dim: channels C of the features.
        config: its options.
        stride: pixels of a picture along each side of a feature.
    """

    def __init__(self, grid: BEVGridConfig, feature_dim: int, config: LiftConfig, stride: int = 8) -> None:
        super().__init__()
        self.grid, self.config, self.stride = grid, config, stride
        self.output_dim = config.output_dim

    def forward(
        self,
        features: Tensor,
        intrinsics: Tensor,
        poses: Tensor,
        camera_valid: Tensor | None = None,
        depth: Tensor | None = None,
    ) -> BEVFeatures:
        """Return the map (B, C_out, H, W) and which cells are seen by a camera.

        Args:
            features: (B, n, C, h, w) of n cameras.
            intrinsics: (B, n, 3, 3) for the pictures that the features are of [px]; pixel (r, c) has its centre at
                (c + 1/2, r + 1/2).
            poses: (B, n, 4, 4) which map points from the cameras' frames (x right, y down, z forward) into that of the
                vehicle.
            camera_valid: (B, n) bool, which cameras work; None where all do. What the others hold changes nothing.
            depth: (B, n, h, w) known depths of the features [m], such as those of LiDAR points, 0 where none is known;
                they take the place of predicted ones. `sample` needs none, and ignores them.

        Raises:
            ValueError: if the shapes do not fit.
        """
        batch, cameras = features.shape[:2]
        shapes = {"intrinsics": (intrinsics, (3, 3)), "poses": (poses, (4, 4))}
        for name, (value, size) in shapes.items():
            if features.dim() != 5 or value.shape != (batch, cameras, *size):
                raise ValueError(
                    f"features {tuple(features.shape)} and {name} {tuple(value.shape)}: give (B, n, C, h, w) and "
                    f"(B, n, {size[0]}, {size[1]})"
                )
        if camera_valid is None:
            camera_valid = torch.ones(batch, cameras, dtype=torch.bool, device=features.device)
        there = camera_valid[..., None, None]
        intrinsics, poses = (each.to(sums_dtype(each.dtype)) for each in (intrinsics, poses))
        features = torch.where(there[..., None], features, 0.0)
        intrinsics = torch.where(there, intrinsics, torch.eye(3, device=intrinsics.device, dtype=intrinsics.dtype))
        poses = torch.where(there, poses, torch.eye(4, device=poses.device, dtype=poses.dtype))
        return self.lift(features, intrinsics, poses, camera_valid, depth)

    @abstractmethod
    def lift(
        self, features: Tensor, intrinsics: Tensor, poses: Tensor, camera_valid: Tensor, depth: Tensor | None
    ) -> BEVFeatures:
        """Return the map from checked tensors; see `forward`."""


class LiftSplat(Lift):
    """Each feature is put into the cells along its ray, weighted by a predicted distribution over depths.

    This is Lift, Splat, Shoot (Philion and Fidler, 2020). Args as of `Lift`.
    """

    def __init__(
        self, grid: BEVGridConfig, feature_dim: int, config: LiftConfig | None = None, stride: int = 8
    ) -> None:
        super().__init__(grid, feature_dim, config or LiftConfig("splat"), stride)
        self.depth = nn.Linear(feature_dim, self.config.depth_bins)
        self.content = nn.Linear(feature_dim, self.output_dim)

    def depth_logits(self, features: Tensor) -> Tensor:
        """Return scores (B, n, h, w, bins) of the depths of features (B, n, C, h, w), which known depths can teach."""
        return self.depth(in_dtype_of(self.depth, features.movedim(2, -1)))

    def depth_classes(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest bins (...) int64 of depths (...) [m], and where (...) bool a depth is within the bins."""
        step = (self.config.max_depth - self.config.min_depth) / (self.config.depth_bins - 1)
        place = (depth - self.config.min_depth) / step
        known = depth.isfinite() & (depth > 0) & (place > -0.5) & (place < self.config.depth_bins - 0.5)
        return torch.where(known, place, 0.0).round().long(), known

    def lift(
        self, features: Tensor, intrinsics: Tensor, poses: Tensor, camera_valid: Tensor, depth: Tensor | None
    ) -> BEVFeatures:
        """Return the map; see `forward`."""
        logits = self.depth_logits(features)
        weights = logits.to(sums_dtype(logits.dtype)).softmax(dim=-1)
        if depth is not None:
            classes, known = self.depth_classes(depth)
            exact = F.one_hot(classes, self.config.depth_bins).to(weights.dtype)
            weights = torch.where(known[..., None], exact, weights)
        content = self.content(in_dtype_of(self.content, features.movedim(2, -1)))
        points = self.frustum(intrinsics, poses, features.shape[-2:])
        cells, inside = cell_indices(self.grid, points, camera_valid[..., None, None, None].expand(points.shape[:-1]))
        batch, number = features.shape[0], features.shape[0] * self.grid.num_cells
        (chosen,) = inside.flatten().nonzero(as_tuple=True)
        cells = batch_cells(cells, self.grid.num_cells).flatten()[chosen]
        table = content.reshape(-1, self.output_dim).to(weights.dtype)
        pixels = chosen.div(self.config.depth_bins, rounding_mode="floor")
        summed = weighted_sums(table, pixels, weights.flatten()[chosen], cells, number)
        seen = marked(cells, number).view(batch, self.grid.rows, self.grid.columns)
        return BEVFeatures(as_map(self.grid, summed, batch), seen)

    def frustum(self, intrinsics: Tensor, poses: Tensor, size: Sequence[int]) -> Tensor:
        """Return the points (B, n, h, w, bins, 3) [m] in the vehicle's frame that features may show."""
        rows, columns = (
            (torch.arange(each, device=poses.device, dtype=poses.dtype) + 0.5) * self.stride for each in size
        )
        fx, fy, cx, cy, skew = (intrinsics[..., i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
        y = ((rows[:, None] - cy) / fy).expand(-1, -1, *size)
        x = (columns - cx - skew * y) / fx
        rays = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # (B, n, h, w, 3)
        turned = (rays[..., None, :] * poses[..., None, None, :3, :3]).sum(dim=-1)
        ends = self.config.min_depth, self.config.max_depth
        bins = torch.linspace(*ends, self.config.depth_bins, device=poses.device, dtype=poses.dtype)
        return turned[..., None, :] * bins[:, None] + poses[..., None, None, None, :3, 3]


class LiftSample(Lift):
    """Each cell looks into the pictures at several heights above the ground.

    What several cameras see of a place is averaged, and the heights are mixed by a layer that is linear; it comes first
    here, which changes nothing and saves half the time. This is the lifting of Simple-BEV (Harley et al., 2023). Args
    as of `Lift`.
    """

    def __init__(
        self, grid: BEVGridConfig, feature_dim: int, config: LiftConfig | None = None, stride: int = 8
    ) -> None:
        super().__init__(grid, feature_dim, config or LiftConfig("sample"), stride)
        self.mix = nn.Linear(feature_dim, len(self.config.heights) * self.output_dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(self.output_dim))

    def lift(
        self, features: Tensor, intrinsics: Tensor, poses: Tensor, camera_valid: Tensor, depth: Tensor | None
    ) -> BEVFeatures:
        """Return the map; see `forward`."""
        places, seen = self.project(intrinsics, poses, features.shape[-2:])
        batch, cameras, _, *size = features.shape
        heights, cells = len(self.config.heights), self.grid.num_cells
        seen = (seen & camera_valid[..., None]).unflatten(2, (heights, cells))
        mixed = self.mix(in_dtype_of(self.mix, features.movedim(2, -1)))
        table = mixed.reshape(-1, self.output_dim).to(sums_dtype(mixed.dtype))
        row, camera, height, cell = seen.nonzero(as_tuple=True)
        corners, weights = _corners(places.unflatten(2, (heights, cells))[row, camera, height, cell], size)
        corners = corners + ((row * cameras + camera) * (size[0] * size[1]))[:, None]
        corners = corners * heights + height[:, None]
        weights = weights / seen.sum(dim=1)[row, height, cell][:, None]
        into = (row * cells + cell)[:, None].expand_as(corners)
        found = weighted_sums(table, corners.flatten(), weights.flatten(), into.flatten(), batch * cells)
        some = seen.any(dim=2).any(dim=1)
        found = torch.where(some.view(-1, 1), found + self.bias, 0.0)
        return BEVFeatures(as_map(self.grid, found, batch), some.view(batch, self.grid.rows, self.grid.columns))

    def project(self, intrinsics: Tensor, poses: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return where places are seen, and whether they are.

        Returns:
            Places (B, n, heights H W, 2) in the features, column and row, which are whole plus 1/2 in the middle of
            one, and (B, n, heights H W) bool, whether the place is in front of the camera and in its picture.
        """
        places = cell_centres(self.grid, device=poses.device, dtype=poses.dtype).view(-1, 2)
        heights = torch.tensor(self.config.heights, device=poses.device, dtype=poses.dtype)
        points = torch.cat([places.repeat(len(heights), 1), heights.repeat_interleave(len(places))[:, None]], dim=1)
        found = project(points[None], intrinsics, poses)
        column, row = found.column / self.stride, found.row / self.stride
        inside = (column >= 0) & (column <= size[1]) & (row >= 0) & (row <= size[0])
        return torch.stack([column, row], dim=-1), found.ahead & inside


def _corners(places: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The four features around places (P, 2), as indices (P, 4) row by row, and their bilinear weights (P, 4)."""
    indices, shares = [], []
    for place, length in zip(places.unbind(dim=-1), (size[1], size[0]), strict=True):
        place = (place - 0.5).clamp(0.0, length - 1.0)
        low = place.floor().clamp(max=max(length - 2, 0))
        share = place - low
        low = low.long()
        indices.append(torch.stack([low, (low + 1).clamp(max=length - 1)], dim=-1))
        shares.append(torch.stack([1.0 - share, share], dim=-1))
    index = indices[1][:, :, None] * size[1] + indices[0][:, None]
    return index.flatten(1), (shares[1][:, :, None] * shares[0][:, None]).flatten(1)


def build_lift(grid: BEVGridConfig, feature_dim: int, config: LiftConfig, stride: int = 8) -> Lift:
    """Return the lift of a config's kind."""
    kinds: dict[str, Any] = {"splat": LiftSplat, "sample": LiftSample}
    return kinds[config.kind](grid, feature_dim, config, stride)
