"""Geometry encoders: tokens that say where things are, from depth, point maps or a pretrained model's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from tempovla.model.sensor.config import Frame, Scale
from tempovla.timeline.lazy import LazyRegistry

if TYPE_CHECKING:
    from tempovla.model.sensor.config import GeometryConfig


@dataclass(frozen=True)
class GeometryFeatures:
    """What a geometry encoder gives.

    Attributes:
        features: (B, V, N_g, D_g) float32, N_g tokens for each of V views; 0 where a token is masked.
        token_mask: (B, V, N_g) bool, True where a token counts.
        points: (B, V, N_g, 3) float32, the point that a token stands for, 0 where it is masked; None where the encoder
            has no points.
        depth: (B, V, N_g) float32, its distance along the optical axis; None where it is not known.
        confidence: (B, V, N_g) float32 from 0 to 1; None where the encoder has none.
        frame: frame of the points: `camera` is that of each view, `world` a common one, `none` where there are none.
        scale: unit of points and depth: `metric` is metres, `relative` is a unit of each sample's own, `none` where
            there are neither.
    """

    features: Tensor
    token_mask: Tensor
    points: Tensor | None = None
    depth: Tensor | None = None
    confidence: Tensor | None = None
    frame: Frame = "none"
    scale: Scale = "none"

    def flat(self) -> tuple[Tensor, Tensor]:
        """Return the features (B, V N_g, D_g) and the mask (B, V N_g) of all views as one sequence."""
        return self.features.flatten(1, 2), self.token_mask.flatten(1, 2)


class GeometryEncoder(nn.Module, ABC):
    """Pictures of several cameras, and what is known of their geometry, to tokens.

    An encoder resizes and normalises its input by itself. What it does not need it ignores. What is not known is None,
    and an encoder that needs it refuses to go on.

    Attributes:
        output_dim: width D_g of a token.
        needs_intrinsics, needs_extrinsics, needs_depth, needs_points: what `encode` must be given.
        frame, scale: tags of the features that it gives.
    """

    output_dim: int
    needs_intrinsics: bool = False
    needs_extrinsics: bool = False
    needs_depth: bool = False
    needs_points: bool = False
    frame: Frame = "none"
    scale: Scale = "none"

    def encode(
        self,
        images: Tensor,
        view_mask: Tensor,
        *,
        intrinsics: Tensor | None = None,
        extrinsics: Tensor | None = None,
        depth: Tensor | None = None,
        points: Tensor | None = None,
    ) -> GeometryFeatures:
        """Return the tokens of all views.

        Args:
            images: (B, V, 3, h, w) float32 in [0, 1].
            view_mask: (B, V) bool, True where a view was really seen. What the other views hold changes nothing.
            intrinsics: (B, V, 3, 3) float32, in pixels of `images`; None where they are not known.
            extrinsics: (B, V, 4, 4) float32, the cameras' poses in a common frame: they map points from the camera's
                frame into it; None where they are not known.
            depth: (B, V, 1, h', w') float32, distances along the optical axis; 0 and numbers that are not finite are no
                readings. Depth and images show the same field of view, whatever their sizes.
            points: (B, V, 3, h', w') float32, one point for every pixel; points that are not finite are no readings.

        Raises:
            ValueError: if something that this encoder needs is None, or a tensor has another shape.
        """
        given = {"intrinsics": intrinsics, "extrinsics": extrinsics, "depth": depth, "points": points}
        _check_views(images, view_mask)
        for name, shape in _SHAPES.items():
            value = given[name]
            if value is None and getattr(self, f"needs_{name}"):
                raise ValueError(f"{type(self).__name__} needs {name}, but they are not known; {_REMEDIES[name]}")
            if value is not None:
                _check_shape(name, value, (*view_mask.shape, *shape))
        return self.tokens(images, view_mask, **given)

    def forward(self, images: Tensor, view_mask: Tensor, **known: Tensor | None) -> GeometryFeatures:
        """Return the value of `encode`."""
        return self.encode(images, view_mask, **known)

    @abstractmethod
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
        """Return the tokens of all views from checked tensors; see `encode`."""


GEOMETRY_REGISTRY: LazyRegistry[type[GeometryEncoder]] = LazyRegistry(
    {
        "depth": "tempovla.model.sensor.depth_geometry:DepthGeometry",
        "point_map": "tempovla.model.sensor.point_map_geometry:PointMapGeometry",
        "latent": "tempovla.model.sensor.latent_geometry:LatentGeometry",
    }
)
"""Kind to class; each is built as `Encoder(config)` from the config of that kind."""


def build_geometry(config: GeometryConfig) -> GeometryEncoder:
    """Return the encoder of a config's kind.

    Raises:
        ValueError: if there is none, or its model does not load.
    """
    if config.kind not in GEOMETRY_REGISTRY:
        raise ValueError(f"geometry.kind={config.kind!r} is unknown; choose from {', '.join(GEOMETRY_REGISTRY)}")
    encoder: Any = GEOMETRY_REGISTRY[config.kind]
    return encoder(config)


_SHAPES: dict[str, tuple[int | None, ...]] = {
    "intrinsics": (3, 3),
    "extrinsics": (4, 4),
    "depth": (1, None, None),
    "points": (3, None, None),
}
_REMEDIES = {
    "intrinsics": "record the cameras' calibration, or use geometry.kind=latent",
    "extrinsics": "record the cameras' poses, or set geometry.frame=camera",
    "depth": "record depth streams, or use geometry.kind=latent",
    "points": "give point maps, or use geometry.kind=depth or latent",
}


def _check_views(images: Tensor, view_mask: Tensor) -> None:
    if images.dim() != 5 or images.shape[2] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images are {tuple(images.shape)} {images.dtype}; give (B, V, 3, h, w) floating-point values in [0, 1]"
        )
    if view_mask.shape != images.shape[:2] or view_mask.is_floating_point():
        raise ValueError(
            f"view_mask is {tuple(view_mask.shape)} {view_mask.dtype}; give {tuple(images.shape[:2])} truth values"
        )


def _check_shape(name: str, value: Tensor, shape: tuple[int | None, ...]) -> None:
    fits = value.dim() == len(shape) and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} of the views are {tuple(value.shape)}; give ({wanted})")
