"""Sizes of a driving policy's fusion of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tempovla.model.sensor.encoder_config import PointCloudConfig, Sampling, SetAbstractionConfig

FusionKind = Literal["bev", "cross_modal", "hierarchical"]
"""How sensors come together: as maps in a bird's eye view, or as tokens that attend to each other."""
FUSIONS: tuple[FusionKind, ...] = ("bev", "cross_modal", "hierarchical")


@dataclass(frozen=True)
class TokenFusionConfig:
    """Sizes of the fusions `cross_modal` and `hierarchical`.

    Attributes:
        camera_dim: channels of the pictures' features.
        camera_tokens: rows and columns of the tokens of each camera but the front one, which has `model.front_tokens`.
        lidar_centres: number of centres of each level of PointNet++; each centre of the last level is a token.
        lidar_radii: radius of the neighbourhood of a centre [m], by level.
        lidar_dims: width of a centre's features, by level.
        lidar_neighbours: most neighbours of a centre that are looked at.
        lidar_sampling: what samples the centres: `torch`, or the faster package `quickfps`, which must be installed.
        num_queries: number of tokens that collect what the fused tokens of points say, since points have no order.
        num_layers: how often the modalities look at each other, in each stage.
        num_heads: attention heads, which must divide the width of a token.
    """

    camera_dim: int = 64
    camera_tokens: tuple[int, int] = (2, 4)
    lidar_centres: tuple[int, ...] = (256, 64)
    lidar_radii: tuple[float, ...] = (2.0, 8.0)
    lidar_dims: tuple[int, ...] = (64, 128)
    lidar_neighbours: int = 16
    lidar_sampling: Sampling = "torch"
    num_queries: int = 32
    num_layers: int = 1
    num_heads: int = 4

    def __post_init__(self) -> None:
        for name in ("camera_dim", "lidar_neighbours", "num_queries", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.token_fusion.{name}={getattr(self, name)} must be at least 1")
        if min(self.camera_tokens) < 1:
            raise ValueError(
                f"model.token_fusion.camera_tokens={list(self.camera_tokens)} must be rows and columns of at least 1"
            )
        levels = (self.lidar_centres, self.lidar_radii, self.lidar_dims)
        if (
            not self.lidar_centres
            or len({len(each) for each in levels}) > 1
            or not all(min(each) > 0 for each in levels)
        ):
            shown = ", ".join(str(list(each)) for each in levels)
            raise ValueError(
                f"model.token_fusion.lidar_centres, lidar_radii and lidar_dims = {shown}: give one number above 0 for "
                "each level, and at least one level"
            )

    @property
    def lidar(self) -> PointCloudConfig:
        """The levels of PointNet++, with layers of half the width before the features of each."""
        levels = [
            SetAbstractionConfig(count, (radius,), (self.lidar_neighbours,), (((dim + 1) // 2, (dim + 1) // 2, dim),))
            for count, radius, dim in zip(self.lidar_centres, self.lidar_radii, self.lidar_dims, strict=True)
        ]
        last = self.lidar_dims[-1]
        return PointCloudConfig(tuple(levels), (last, 2 * last), sampling=self.lidar_sampling)
