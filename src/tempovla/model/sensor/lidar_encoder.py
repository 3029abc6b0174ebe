"""PointNet++ over LiDAR points: features of the cloud, or of centres that cover it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.encoder_config import PointCloudConfig, Sampling, SetAbstractionConfig
from tempovla.model.sensor.neighbours import ball_query
from tempovla.model.sensor.point_net import PointNet, present
from tempovla.model.sensor.points import farthest_point_sampling, gather_points, quickfps_module


class PointFeatures(NamedTuple):
    """Features of M centres of a cloud.

    Attributes:
        features: (B, M, D), 0 where a centre is not valid.
        positions: (B, M, 3) [m], 0 where a centre is not valid.
        valid: (B, M) bool.
    """

    features: Tensor
    positions: Tensor
    valid: Tensor


class PointNetSetAbstraction(nn.Module):
    """A level of PointNet++ (Qi et al., 2017): farthest-point sampling, ball query, and PointNet at one or more scales.

    Args:
        config: centres, radii and widths.
        input_dim: features F of a point beside its position.
        sampling: what samples the centres; see `PointCloudConfig`.
    """

    def __init__(self, config: SetAbstractionConfig, input_dim: int, sampling: Sampling = "torch") -> None:
        super().__init__()
        self.config, self.sampling = config, sampling
        self.output_dim = config.output_dim
        self.nets = nn.ModuleList(PointNet((3 + input_dim, *widths)) for widths in config.widths)

    def forward(self, positions: Tensor, features: Tensor, valid: Tensor) -> PointFeatures:
        """Return the features of the centres.

        Args:
            positions: (B, N, 3) [m].
            features: (B, N, F).
            valid: (B, N) bool, which points are there. What the others hold changes nothing.
        """
        positions = torch.where(valid[..., None], positions, 0.0)
        places = positions if positions.dtype == torch.float64 else positions.float()
        index = farthest_point_sampling(places, self.config.count, valid, self.sampling)
        number = valid.sum(dim=1, keepdim=True)
        there = torch.arange(self.config.count, device=valid.device) < number
        centres = torch.where(there[..., None], gather_points(places, index), 0.0)
        points = torch.cat([places, features.to(places.dtype)], dim=-1)
        found = [self._at_scale(scale, points, valid, centres, there) for scale in range(len(self.config.radii))]
        return PointFeatures(torch.cat(found, dim=-1), centres, there)

    def _at_scale(self, scale: int, points: Tensor, valid: Tensor, centres: Tensor, there: Tensor) -> Tensor:
        """Features (B, M, C) of the centres at one scale."""
        radius, most = self.config.radii[scale], self.config.max_neighbours[scale]
        index, near = ball_query(points[..., :3], centres, radius, most, valid, there)
        around = gather_points(points, index)
        offsets = (around[..., :3] - centres[:, :, None]) / radius
        return self.nets[scale](torch.cat([offsets, around[..., 3:]], dim=-1), near)


class PointCloudEncoder(nn.Module):
    """PointNet++ over LiDAR points.

    The result depends neither on the order of the points nor on padding.

    Args:
        input_dim: numbers F of a point: x, y and z [m], and features such as an intensity of about 0 to 1.
        output_dim: width of the cloud's feature.
        config: levels; None for the default ones.
    """

    def __init__(self, input_dim: int = 4, output_dim: int = 512, config: PointCloudConfig | None = None) -> None:
        super().__init__()
        if input_dim < 3:
            raise ValueError(f"input_dim={input_dim} has no room for x, y and z; give at least 3")
        self.config = config or PointCloudConfig()
        if self.config.sampling == "quickfps":
            quickfps_module()
        self.input_dim, self.output_dim = input_dim, output_dim
        self.levels = nn.ModuleList()
        width = input_dim
        for level in self.config.levels:
            self.levels.append(PointNetSetAbstraction(level, width, self.config.sampling))
            width = level.output_dim
        self.token_dim = width
        self.global_net = PointNet((3 + width, *self.config.global_widths))
        self.fc = nn.Linear(self.global_net.output_dim, output_dim)

    def forward(self, points: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the features (B, output_dim) of clouds; that of an empty cloud is the bias of the last layer.

        Args:
            points: (B, N, F); points with a number that is not finite are not there.
            valid: (B, N) bool, which points are there; None where all are. What the others hold changes nothing.

        Raises:
            ValueError: if the shapes do not fit.
        """
        return self.summary(self.tokens(points, valid))

    def summary(self, tokens: PointFeatures) -> Tensor:
        """Return the features (B, output_dim) of the clouds that tokens were made of."""
        seen = torch.cat([tokens.positions / self.config.extent, tokens.features], dim=-1)
        return self.fc(in_dtype_of(self.fc, self.global_net(seen, tokens.valid)))

    def tokens(self, points: Tensor, valid: Tensor | None = None) -> PointFeatures:
        """Return the features (B, M, token_dim) of the last level's centres; arguments as of `forward`."""
        if points.shape[-1] != self.input_dim:
            raise ValueError(f"points {tuple(points.shape)} have {points.shape[-1]} numbers each, not {self.input_dim}")
        points, valid = present(points, valid)
        positions = points[..., :3]
        features = torch.cat([positions / self.config.extent, points[..., 3:]], dim=-1)
        for level in self.levels:
            features, positions, valid = level(positions, features, valid)
        return PointFeatures(features, positions, valid)
