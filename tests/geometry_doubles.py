"""Doubles for tests of geometry: an analytic scene with exact depth, and a small seeded vision encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class SeededConvEncoder(nn.Module):
    """One convolution of stride 14 to 16 channels, with the same weights every time."""

    hidden_dim = 16

    def __init__(self, config) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, self.hidden_dim, 14, 14)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in self.conv.parameters():
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Scene:
    """A plane z = `plane` of the world and a sphere, seen by pinhole cameras.

    Attributes:
        plane: height of the plane [m].
        centre: of the sphere [m].
        radius: of the sphere [m].
    """

    plane: float = 0.0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.2)
    radius: float = 0.2

    def depth(self, intrinsics: Tensor, pose: Tensor, height: int, width: int) -> Tensor:
        """(h, w) distance along the optical axis of what is seen; 0 where a ray meets nothing."""
        directions = self.rays(intrinsics, pose, height, width)
        origin, axis = pose[:3, 3], pose[:3, 2]
        to_plane = (self.plane - origin[2]) / directions[..., 2]
        to_plane = torch.where(to_plane > 0, to_plane, torch.inf)
        away = origin - torch.tensor(self.centre, dtype=pose.dtype)
        a, b = (directions**2).sum(-1), (directions * away).sum(-1)
        root = b**2 - a * (away @ away - self.radius**2)
        to_sphere = torch.where(root >= 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
        to_sphere = torch.where(to_sphere > 0, to_sphere, torch.inf)
        nearest = torch.minimum(to_plane, to_sphere)
        depth = nearest * (directions @ axis)
        return torch.where(nearest.isfinite(), depth, 0.0)

    @staticmethod
    def rays(intrinsics: Tensor, pose: Tensor, height: int, width: int) -> Tensor:
        """(h, w, 3) direction in the world of the ray through each pixel's centre."""
        rows, columns = torch.meshgrid(
            torch.arange(height, dtype=pose.dtype) + 0.5, torch.arange(width, dtype=pose.dtype) + 0.5, indexing="ij"
        )
        pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
        return pixels @ torch.linalg.inv(intrinsics).T @ pose[:3, :3].T


def pinhole(height: int, width: int, focal: float) -> Tensor:
    """(3, 3) intrinsics with the optical axis through the picture's middle."""
    return torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)


def look_down(height: float, x: float = 0.0, tilt: float = 0.0) -> Tensor:
    """(4, 4) pose of a camera `height` above the world's origin that looks down, turned about its x axis by `tilt`."""
    cos, sin = torch.cos(torch.tensor(tilt)).item(), torch.sin(torch.tensor(tilt)).item()
    down = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=torch.float64)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = down @ turn, torch.tensor([x, 0.0, height], dtype=torch.float64)
    return pose
