"""A convolutional encoder of depth pictures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of


class DepthTokens(NamedTuple):
    """Features of the patches of a depth picture, row by row from the top left.

    Attributes:
        features: (B, M, D), 0 where a patch has no reading.
        valid: (B, M) bool, where a patch has one.
    """

    features: Tensor
    valid: Tensor


class DepthEncoder(nn.Module):
    """Depth pictures to features of the picture, or of patches of 16 x 16 pixels.

    The network sees the logarithm of the depth and where there is a reading.

    Args:
        output_dim: width of the features.
        hidden_dim: channels of the first layer; each further one has twice as many, but for the last.
        max_depth: largest depth that counts as a reading [m]; None for no limit.
    """

    PATCH = 16

    def __init__(self, output_dim: int = 256, hidden_dim: int = 32, max_depth: float | None = None) -> None:
        super().__init__()
        if max_depth is not None and not max_depth > 0:
            raise ValueError(f"max_depth={max_depth} must be above 0, or None for no limit")
        self.output_dim, self.max_depth = output_dim, max_depth
        layers: list[nn.Module] = []
        for inputs, outputs in ((2, hidden_dim), (hidden_dim, 2 * hidden_dim), (2 * hidden_dim, output_dim)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.GroupNorm(1, outputs), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Conv2d(output_dim, output_dim, 2, stride=2))
        self.fc = nn.Linear(output_dim, output_dim)

    def forward(self, depth: Tensor) -> Tensor:
        """Return the features (B, output_dim); without any reading, they are the bias of the last layer.

        Args:
            depth: (B, 1, H, W) or (B, H, W, 1) distances along the optical axis [m]; 0 and numbers that are not finite
                are no readings.

        Raises:
            ValueError: if the shape is another one.
        """
        features, valid = self.tokens(depth)
        number = valid.sum(dim=1, keepdim=True).clamp(min=1)
        return self.fc(in_dtype_of(self.fc, features.sum(dim=1) / number))

    def tokens(self, depth: Tensor) -> DepthTokens:
        """Return the features of patches; arguments as of `forward`. Sides are padded to whole patches."""
        if depth.dim() != 4 or 1 not in (depth.shape[1], depth.shape[3]):
            raise ValueError(f"depth {tuple(depth.shape)}: give (B, 1, H, W) or (B, H, W, 1) distances [m]")
        depth = depth if depth.shape[1] == 1 else depth.movedim(3, 1)
        height, width = depth.shape[2:]
        depth = F.pad(depth, (0, -width % self.PATCH, 0, -height % self.PATCH))
        there = depth.isfinite() & (depth > 0)
        there = there if self.max_depth is None else there & (depth <= self.max_depth)
        seen = torch.cat([torch.where(there, depth, 0.0).log1p(), there.to(depth.dtype)], dim=1)
        valid = F.max_pool2d(there.to(seen.dtype), self.PATCH).flatten(1) > 0
        features = self.net(in_dtype_of(self.net, seen)).flatten(2).transpose(1, 2)
        return DepthTokens(torch.where(valid[..., None], features, 0.0), valid)
