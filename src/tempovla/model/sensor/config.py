"""Options of the geometry encoders.

Nothing here loads torch, so that the command line can show and check these options at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tempovla.model.vlm.config import VisionEncoderConfig

Frame = Literal["camera", "world", "none"]
Scale = Literal["metric", "relative", "none"]


@dataclass(frozen=True)
class PointTokensConfig:
    """How measured points become tokens: pooling by patches, a Fourier code of the mean point, and an MLP.

    Attributes:
        grid: tokens along each side of a view, so that a view has grid x grid of them.
        output_dim: width D_g of a token.
        hidden_dim: width of the MLP's hidden layer.
        num_bands: frequencies of the Fourier code, each twice the one before.
        extent: length that the longest wave spans from -1 to 1: metres where the scale is metric, and median depths
            where it is relative. With 2.0 and 8 bands the shortest wave is about 3 cm long.
        min_valid_share: least share of a patch's pixels that must hold a reading for its token to count.
    """

    grid: int = 16
    output_dim: int = 256
    hidden_dim: int = 256
    num_bands: int = 8
    extent: float = 2.0
    min_valid_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("grid", "output_dim", "hidden_dim", "num_bands"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.geometry.tokens.{name}={getattr(self, name)} must be at least 1")
        if not 0 < self.extent < math.inf:
            raise ValueError(f"model.geometry.tokens.extent={self.extent} must be a length above 0")
        if not 0 <= self.min_valid_share <= 1:
            raise ValueError(
                f"model.geometry.tokens.min_valid_share={self.min_valid_share} must be a share from 0 to 1"
            )


@dataclass(frozen=True)
class DepthGeometryConfig:
    """Geometry from depth pictures, which are unprojected with the cameras' intrinsics.

    Attributes:
        kind: names this encoder.
        tokens: how the points become tokens.
        frame: `camera` keeps every view's points in the frame of its camera; `world` moves them into the common frame
            of the extrinsics, which must then be known.
        scale: `metric` for depth in metres, as sensors and simulators give; `relative` for depth of unknown scale,
            which is divided by its median over the view.
        max_depth: largest depth that counts as a reading, in the units of the depth; None takes all.
    """

    kind: Literal["depth"] = "depth"
    tokens: PointTokensConfig = field(default_factory=PointTokensConfig)
    frame: Frame = "camera"
    scale: Scale = "metric"
    max_depth: float | None = None

    def __post_init__(self) -> None:
        _check_frame_and_scale(self.frame, self.scale)
        if self.frame == "world" and self.scale == "relative":
            raise ValueError(
                "geometry.frame='world' needs metric depth, as the cameras' poses are metric; set geometry.frame=camera"
            )
        if self.max_depth is not None and not self.max_depth > 0:
            raise ValueError(f"geometry.max_depth={self.max_depth} must be above 0, or null for no limit")


@dataclass(frozen=True)
class PointMapGeometryConfig:
    """Geometry from point maps, which hold one point for every pixel.

    Attributes:
        kind: names this encoder.
        tokens: how the points become tokens.
        frame: frame in which the points are given; they stay in it.
        scale: `metric` for points in metres; `relative` for points of unknown scale, which are divided by the median
            depth over all views.
    """

    kind: Literal["point_map"] = "point_map"
    tokens: PointTokensConfig = field(default_factory=PointTokensConfig)
    frame: Frame = "camera"
    scale: Scale = "metric"

    def __post_init__(self) -> None:
        _check_frame_and_scale(self.frame, self.scale)


@dataclass(frozen=True)
class LatentGeometryConfig:
    """Geometry as the hidden features of a pretrained vision model, without points.

    Attributes:
        kind: names this encoder.
        vision: the model, by name or folder. A model that is not one of transformers', such as MapAnything, is used
            through an entry of its own in `tempovla.model.vlm.ENCODER_REGISTRY`.
    """

    kind: Literal["latent"] = "latent"
    vision: VisionEncoderConfig = field(default_factory=lambda: VisionEncoderConfig("dinov2-base"))


GeometryConfig = DepthGeometryConfig | PointMapGeometryConfig | LatentGeometryConfig
"""The options of any geometry encoder; `kind` tells which."""


def _check_frame_and_scale(frame: str, scale: str) -> None:
    """Refuse a frame or scale that points cannot have."""
    if frame not in ("camera", "world"):
        raise ValueError(f"geometry.frame={frame!r} is no frame of points; choose from camera, world")
    if scale not in ("metric", "relative"):
        raise ValueError(f"geometry.scale={scale!r} is no scale of points; choose from metric, relative")
