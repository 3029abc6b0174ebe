"""A small convolutional network over the pictures of several cameras, of which a bird's eye view is made."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of


class CameraBackbone(nn.Module):
    """Pictures of any aspect ratio to features of stride 8.

    Features of stride 16 are added, so that each knows what is around it. Kernels of layers with a stride lie evenly
    around what they sum up, so that the centre of a feature's cell is that of the pixels it covers. Norms look at one
    picture alone.

    Args:
        output_dim: channels C of the features.
        stem_dim: channels of the first layer.
        deep_dim: channels at stride 16.
    """

    STRIDE = 8

    def __init__(self, output_dim: int = 64, stem_dim: int = 16, deep_dim: int = 96) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.fine = nn.Sequential(
            _down(3, stem_dim, 4),
            _down(stem_dim, 2 * stem_dim, 4),
            _down(2 * stem_dim, output_dim, 2),
            Residual(output_dim),
        )
        self.deep = nn.Sequential(
            _down(output_dim, deep_dim, 2), Residual(deep_dim), nn.Conv2d(deep_dim, output_dim, 1)
        )

    def forward(self, images: Tensor, camera_valid: Tensor | None = None) -> Tensor:
        """Return the features (B, n, C, h, w) at an eighth of the pictures' size, rounded up; 0 where not valid.

        Args:
            images: (B, n, 3, H, W) floating-point values in [0, 1].
            camera_valid: (B, n) bool, which pictures are there; None where all are. What the others hold changes
                nothing.

        Raises:
            ValueError: if the shapes do not fit.
        """
        fits = images.dim() == 5 and images.shape[2] == 3 and images.is_floating_point()
        if not fits or (camera_valid is not None and camera_valid.shape != images.shape[:2]):
            raise ValueError(f"images {tuple(images.shape)} {images.dtype}: give (B, n, 3, H, W) values in [0, 1]")
        if camera_valid is not None:
            images = torch.where(camera_valid[..., None, None, None], images, 0.0)
        height, width = images.shape[-2:]
        seen = F.pad(2.0 * images.flatten(0, 1) - 1.0, (0, -width % self.STRIDE, 0, -height % self.STRIDE))
        fine = self.fine(in_dtype_of(self.fine, seen))
        deep = self.deep(F.pad(fine, (0, fine.shape[-1] % 2, 0, fine.shape[-2] % 2)))
        deep = deep.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)
        features = (fine + deep[..., : fine.shape[-2], : fine.shape[-1]]).unflatten(0, images.shape[:2])
        if camera_valid is not None:
            features = torch.where(camera_valid[..., None, None, None], features, 0.0)
        return features


class Residual(nn.Module):
    """A convolution of 3 x 3 behind a norm, around a residual.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return x + self.conv(F.relu(self.norm(x)))


def _down(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution of stride 2 whose kernel (2 or 4) lies evenly around the two pixels that it sums up."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 2) // 2)
    return nn.Sequential(conv, nn.GroupNorm(1, outputs), nn.ReLU())
