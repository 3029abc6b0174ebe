"""Geometry from depth pictures and the cameras' intrinsics."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.sensor.config import DepthGeometryConfig
from tempovla.model.sensor.geometry import GeometryEncoder, GeometryFeatures
from tempovla.model.sensor.point_tokens import PointTokens
from tempovla.model.sensor.unproject import masked_median, scale_intrinsics, transform_points, unproject


class DepthGeometry(GeometryEncoder):
    """Depth to points with the intrinsics, and points to tokens of patches.

    Args:
        config: its options.
    """

    needs_intrinsics = True
    needs_depth = True

    def __init__(self, config: DepthGeometryConfig) -> None:
        super().__init__()
        self.config = config
        self.frame, self.scale = config.frame, config.scale
        self.needs_extrinsics = config.frame == "world"
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
        """Return tokens of the unprojected depth; `images` give only the size that the intrinsics are for."""
        assert depth is not None
        assert intrinsics is not None
        distance = depth[:, :, 0].float()
        valid = readings(distance, self.config.max_depth) & view_mask[..., None, None]
        distance = torch.where(valid, distance, 0.0)
        if self.scale == "relative":
            median = masked_median(distance.flatten(2), valid.flatten(2))
            distance = distance / median[..., None, None]
        sizes = (images.shape[-2], images.shape[-1]), (depth.shape[-2], depth.shape[-1])
        seen = unproject(distance, scale_intrinsics(intrinsics.float(), *sizes))
        if self.frame == "world":
            assert extrinsics is not None
            seen = transform_points(seen, extrinsics.float())
        found: GeometryFeatures = self.point_tokens(seen, distance, valid, frame=self.frame, scale=self.scale)
        return found


def readings(depth: Tensor, most: float | None = None) -> Tensor:
    """Return where a depth is a reading: finite, above 0 and, where a limit is given, not beyond it."""
    valid = torch.isfinite(depth) & (depth > 0)
    return valid if most is None else valid & (depth <= most)
