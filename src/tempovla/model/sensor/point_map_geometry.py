"""Geometry from point maps, which another model or a sensor gives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tempovla.model.sensor.config import PointMapGeometryConfig
from tempovla.model.sensor.geometry import GeometryEncoder, GeometryFeatures
from tempovla.model.sensor.point_tokens import PointTokens
from tempovla.model.sensor.unproject import masked_median


class PointMapGeometry(GeometryEncoder):
    """Points of every pixel to tokens of patches.

    Args:
        config: its options.
    """

    needs_points = True

    def __init__(self, config: PointMapGeometryConfig) -> None:
        super().__init__()
        self.config = config
        self.frame, self.scale = config.frame, config.scale
        self.output_dim = config.tokens.output_dim
        self.point_tokens = PointTokens(config.tokens)

    def tokens(
        self,
        images: Tensor,
        view_mask: Tensor,
        *,
        intrinsics: Tensor | None,
        extrinsics: Tensor | None,
        depth: Tensor | None,
        points: Tensor | None,
    ) -> GeometryFeatures:
        """Return tokens of the points.

        In the camera's frame a point's depth is its third coordinate. In a common frame its distance from the origin
        stands for it where a scale is wanted, and the features tell no depth.
        """
        assert points is not None
        given = points.float()
        valid = torch.isfinite(given).all(dim=2) & view_mask[..., None, None]
        in_camera = self.frame == "camera"
        if in_camera:
            valid = valid & (given[:, :, 2] > 0)
        given = torch.where(valid[:, :, None], given, 0.0)
        distance = given[:, :, 2] if in_camera else given.norm(dim=2)
        if self.scale == "relative":
            median = masked_median(distance.flatten(1), valid.flatten(1))[:, None, None, None]
            given, distance = given / median[:, None], distance / median
        found: GeometryFeatures = self.point_tokens(given, distance, valid, frame=self.frame, scale=self.scale)
        return found if in_camera else replace(found, depth=None)
