"""Encoders of further sensors by name; your own encoder is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tempovla.timeline.lazy import LazyRegistry

if TYPE_CHECKING:
    from torch import nn

    from tempovla.model.vla.own_sensor_config import OwnSensorConfig

SENSOR_ENCODER_REGISTRY: LazyRegistry[type[nn.Module]] = LazyRegistry(
    {
        "depth": "tempovla.model.sensor.depth_encoder:DepthEncoder",
        "point_cloud": "tempovla.model.sensor.lidar_encoder:PointCloudEncoder",
        "radar": "tempovla.model.sensor.radar_encoder:RadarEncoder",
    }
)
"""Name to class. An encoder is built as `Encoder(output_dim=..., **options)`, has an attribute `output_dim`, and maps a
stream's value (B, *F), of points together with (B, N) bool that says which are there, to (B, output_dim)."""


def build_sensor_encoders(sensors: Mapping[str, OwnSensorConfig]) -> dict[str, nn.Module]:
    """Return the encoders of further sensors, by the sensors' names.

    Raises:
        ValueError: naming the sensor, if its encoder is not registered.
    """
    found = {}
    for name, sensor in sensors.items():
        if sensor.encoder not in SENSOR_ENCODER_REGISTRY:
            raise ValueError(
                f"model.own_sensors.{name}.encoder={sensor.encoder!r} is unknown; registered are "
                f"{sorted(SENSOR_ENCODER_REGISTRY)}; import the module that registers it (on the command line, "
                "--plugin MODULE)"
            )
        found[name] = SENSOR_ENCODER_REGISTRY[sensor.encoder](output_dim=sensor.output_dim, **sensor.options)
    return found
