"""Encoders of sensors other than colour cameras: geometry from depth, point maps and pretrained models.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.sensor.calibrations import ViewCameras, view_cameras
    from tempovla.model.sensor.config import (
        DepthGeometryConfig,
        GeometryConfig,
        LatentGeometryConfig,
        PointMapGeometryConfig,
        PointTokensConfig,
    )
    from tempovla.model.sensor.geometry import GEOMETRY_REGISTRY, GeometryEncoder, GeometryFeatures, build_geometry

__all__ = [
    "GEOMETRY_REGISTRY",
    "DepthGeometryConfig",
    "GeometryConfig",
    "GeometryEncoder",
    "GeometryFeatures",
    "LatentGeometryConfig",
    "PointMapGeometryConfig",
    "PointTokensConfig",
    "ViewCameras",
    "build_geometry",
    "view_cameras",
]

_MODULES = {
    "config": (
        "DepthGeometryConfig",
        "GeometryConfig",
        "LatentGeometryConfig",
        "PointMapGeometryConfig",
        "PointTokensConfig",
    ),
    "geometry": ("GEOMETRY_REGISTRY", "GeometryEncoder", "GeometryFeatures", "build_geometry"),
    "calibrations": ("ViewCameras", "view_cameras"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
