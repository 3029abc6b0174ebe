"""Tokens of measured points: the mean point of every patch, as a Fourier code through an MLP."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.sensor.config import Frame, PointTokensConfig, Scale
from tempovla.model.sensor.geometry import GeometryFeatures


def fourier_code(points: Tensor, num_bands: int, extent: float) -> Tensor:
    """Return (..., 3 + 6 num_bands): the coordinates (..., 3) over `extent`, and sines and cosines of them.

    The code is that of Mildenhall et al. (2020), equation 4: wave numbers pi, 2 pi, 4 pi and so on.
    """
    unit = points / extent
    waves = math.pi * 2.0 ** torch.arange(num_bands, device=points.device, dtype=points.dtype)
    angles = (unit[..., None] * waves).flatten(-2)
    return torch.cat([unit, angles.sin(), angles.cos()], dim=-1)


def patch_means(values: Tensor, valid: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Return the means (N, grid^2, C) over the valid pixels of each patch, and the share (N, grid^2) of such pixels.

    Means are 0 where no pixel of a patch is valid. Patches run row by row from the top left.

    Args:
        values: (N, C, h, w); what invalid pixels hold changes nothing.
        valid: (N, h, w) bool.
        grid: patches along each side.
    """
    counted = valid[:, None].to(values.dtype)
    share = F.adaptive_avg_pool2d(counted, grid)
    sums = F.adaptive_avg_pool2d(torch.where(valid[:, None], values, 0.0), grid)
    means = torch.where(share > 0, sums / share.clamp(min=torch.finfo(share.dtype).tiny), 0.0)
    return means.flatten(2).transpose(1, 2), share.flatten(1)


class PointTokens(nn.Module):
    """Points of every pixel to tokens of patches.

    Args:
        config: sizes.
    """

    def __init__(self, config: PointTokensConfig) -> None:
        super().__init__()
        self.config = config
        self.mlp = mlp((4 + 6 * config.num_bands, config.hidden_dim, config.output_dim))

    def forward(self, points: Tensor, depth: Tensor, valid: Tensor, *, frame: Frame, scale: Scale) -> GeometryFeatures:
        """Return the tokens of all views; confidence is the share of a patch's pixels that hold a reading.

        Args:
            points: (B, V, 3, h, w).
            depth: (B, V, h, w), the points' distance along the optical axis.
            valid: (B, V, h, w) bool, where there is a reading.
            frame: frame of the points.
            scale: unit of points and depth.
        """
        views, grid = points.shape[:2], self.config.grid
        values = torch.cat([points, depth[:, :, None]], dim=2).float()
        means, share = patch_means(values.flatten(0, 1), valid.flatten(0, 1), grid)
        means, share = means.unflatten(0, views), share.unflatten(0, views)
        counts = (share > 0) & (share >= self.config.min_valid_share)
        means = torch.where(counts[..., None], means, 0.0)
        code = fourier_code(means[..., :3], self.config.num_bands, self.config.extent)
        code = torch.cat([code, share[..., None]], dim=-1)
        features = self.mlp(in_dtype_of(self.mlp, code)).float()
        features = torch.where(counts[..., None], features, 0.0)
        confidence = torch.where(counts, share, 0.0)
        return GeometryFeatures(features, counts, means[..., :3], means[..., 3], confidence, frame, scale)
