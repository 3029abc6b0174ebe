"""Sizes of a driving policy's fusion of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tempovla.model.sensor.encoder_config import PointCloudConfig

FusionKind = Literal["bev", "cross_modal", "hierarchical"]
"""How sensors come together: as maps in a bird's eye view, or as tokens that attend to each other."""
FUSIONS: tuple[FusionKind, ...] = ("bev", "cross_modal", "hierarchical")


@dataclass(frozen=True)
class TokenFusionConfig:
    """Sizes of the fusions `cross_modal` and `hierarchical`.

    Attributes:
        camera_dim: channels of the pictures' features.
        camera_tokens: rows and columns of the tokens of each camera but the front one, which has `model.front_tokens`.
        lidar: the levels of PointNet++; each centre of the last one is a token.
        num_queries: number of tokens that collect what the fused tokens of points say, since points have no order.
        num_layers: how often the modalities look at each other, in each stage.
        num_heads: attention heads, which must divide the width of a token.
    """

    camera_dim: int = 64
    camera_tokens: tuple[int, int] = (2, 4)
    lidar: PointCloudConfig = field(default_factory=PointCloudConfig)
    num_queries: int = 32
    num_layers: int = 1
    num_heads: int = 4

    def __post_init__(self) -> None:
        for name in ("camera_dim", "num_queries", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.token_fusion.{name}={getattr(self, name)} must be at least 1")
        if min(self.camera_tokens) < 1:
            raise ValueError(
                f"model.token_fusion.camera_tokens={list(self.camera_tokens)} must be rows and columns of at least 1"
            )
