"""Options of the bird's eye view: how pictures are lifted, and how maps of several sensors are fused.

Nothing here loads torch, so that the command line can show and check these options at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LiftConfig:
    """How features of pictures come into the cells of a bird's eye view.

    Attributes:
        kind: `splat` predicts a distribution over depths for each feature and puts it into the cells along its ray
            (Lift, Splat, Shoot; Philion and Fidler, 2020); `sample` looks from each cell, at several heights, into the
            pictures (Simple-BEV; Harley et al., 2023), which needs no depth.
        output_dim: channels of the map.
        depth_bins: number of depths, of `splat`.
        min_depth: middle of the first depth bin [m].
        max_depth: middle of the last depth bin [m].
        heights: heights over the ground that are looked at [m], of `sample`.
    """

    kind: Literal["splat", "sample"] = "splat"
    output_dim: int = 64
    depth_bins: int = 32
    min_depth: float = 2.0
    max_depth: float = 50.0
    heights: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        if self.kind not in ("splat", "sample"):
            raise ValueError(f"lift.kind={self.kind!r} is unknown; choose splat or sample")
        if self.output_dim < 1 or self.depth_bins < 2:
            raise ValueError(
                f"lift.output_dim={self.output_dim} must be at least 1 and lift.depth_bins={self.depth_bins} at least 2"
            )
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(f"lift.min_depth={self.min_depth} must be above 0 and below max_depth={self.max_depth}")
        if not self.heights:
            raise ValueError("lift.heights=() must name at least one height [m]")


@dataclass(frozen=True)
class BEVFusionConfig:
    """How maps of several sensors become one.

    Attributes:
        output_dim: channels of the fused map.
        num_blocks: residual blocks of the encoder behind the fusion.
        modality_dropout: share of the samples in training in which a sensor is left out, for each sensor; one is always
            left.
    """

    output_dim: int = 64
    num_blocks: int = 2
    modality_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.output_dim < 1 or self.num_blocks < 0:
            raise ValueError(
                f"fusion.output_dim={self.output_dim} must be at least 1 and fusion.num_blocks={self.num_blocks} at "
                "least 0"
            )
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(f"fusion.modality_dropout={self.modality_dropout} must be at least 0 and below 1")
