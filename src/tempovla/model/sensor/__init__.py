"""Encoders of sensors other than colour cameras, and what a bird's eye view is made of.

LiDAR, radar, inertial measurements and depth become features; geometry encoders make tokens of depth, point maps and
pretrained models. Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.sensor.bev import BEVGridConfig
    from tempovla.model.sensor.bev_cells import BEVFeatures
    from tempovla.model.sensor.calibrations import ViewCameras, view_cameras
    from tempovla.model.sensor.camera_backbone import CameraBackbone
    from tempovla.model.sensor.config import (
        DepthGeometryConfig,
        GeometryConfig,
        LatentGeometryConfig,
        PointMapGeometryConfig,
        PointTokensConfig,
    )
    from tempovla.model.sensor.depth_encoder import DepthEncoder
    from tempovla.model.sensor.encoder_config import PointCloudConfig, SetAbstractionConfig
    from tempovla.model.sensor.geometry import GEOMETRY_REGISTRY, GeometryEncoder, GeometryFeatures, build_geometry
    from tempovla.model.sensor.imu_encoder import IMUEncoder
    from tempovla.model.sensor.lidar_encoder import PointCloudEncoder, PointFeatures, PointNetSetAbstraction
    from tempovla.model.sensor.neighbours import ball_query
    from tempovla.model.sensor.pillars import PillarEncoder
    from tempovla.model.sensor.points import farthest_point_sampling, gather_points
    from tempovla.model.sensor.radar_encoder import RadarEncoder, RadarPillars

__all__ = [
    "GEOMETRY_REGISTRY",
    "BEVFeatures",
    "BEVGridConfig",
    "CameraBackbone",
    "DepthEncoder",
    "DepthGeometryConfig",
    "GeometryConfig",
    "GeometryEncoder",
    "GeometryFeatures",
    "IMUEncoder",
    "LatentGeometryConfig",
    "PillarEncoder",
    "PointCloudConfig",
    "PointCloudEncoder",
    "PointFeatures",
    "PointMapGeometryConfig",
    "PointNetSetAbstraction",
    "PointTokensConfig",
    "RadarEncoder",
    "RadarPillars",
    "SetAbstractionConfig",
    "ViewCameras",
    "ball_query",
    "build_geometry",
    "farthest_point_sampling",
    "gather_points",
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
    "bev": ("BEVGridConfig",),
    "bev_cells": ("BEVFeatures",),
    "camera_backbone": ("CameraBackbone",),
    "depth_encoder": ("DepthEncoder",),
    "encoder_config": ("PointCloudConfig", "SetAbstractionConfig"),
    "imu_encoder": ("IMUEncoder",),
    "lidar_encoder": ("PointCloudEncoder", "PointFeatures", "PointNetSetAbstraction"),
    "neighbours": ("ball_query",),
    "pillars": ("PillarEncoder",),
    "points": ("farthest_point_sampling", "gather_points"),
    "radar_encoder": ("RadarEncoder", "RadarPillars"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
