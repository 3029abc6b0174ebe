"""Whole policies.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.vla.lora_config import LoRAConfig
    from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig, MultiSensorVLAConfig
    from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA, Trajectories
    from tempovla.model.vla.openvla_config import OpenVLAConfig
    from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
    from tempovla.model.vla.own_sensor_config import OwnSensorConfig
    from tempovla.model.vla.registry import POLICY_REGISTRY, load_policy
    from tempovla.model.vla.sagr import SAGR
    from tempovla.model.vla.sagr_config import SAGRConfig
    from tempovla.model.vla.sensor_encoders import SENSOR_ENCODER_REGISTRY
    from tempovla.model.vla.smolvla_config import SmolVLAConfig
    from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
    from tempovla.model.vla.statevla import StateVLA
    from tempovla.model.vla.statevla_config import StateVLAConfig
    from tempovla.model.vla.vla_config import VLAConfig
    from tempovla.model.vla.vla_model import VLAModel
    from tempovla.model.vla.waypoint_controller import Controls, WaypointController, WaypointControllerConfig

__all__ = [
    "POLICY_REGISTRY",
    "SAGR",
    "SENSOR_ENCODER_REGISTRY",
    "BEVTemporalConfig",
    "Controls",
    "LoRAConfig",
    "MultiSensorVLA",
    "MultiSensorVLAConfig",
    "OpenVLAConfig",
    "OpenVLAWrapper",
    "OwnSensorConfig",
    "SAGRConfig",
    "SmolVLAConfig",
    "SmolVLAWrapper",
    "StateVLA",
    "StateVLAConfig",
    "Trajectories",
    "VLAConfig",
    "VLAModel",
    "WaypointController",
    "WaypointControllerConfig",
    "load_policy",
]

_MODULES = {
    "lora_config": ("LoRAConfig",),
    "multi_sensor_config": ("BEVTemporalConfig", "MultiSensorVLAConfig"),
    "multi_sensor_vla": ("MultiSensorVLA", "Trajectories"),
    "openvla_config": ("OpenVLAConfig",),
    "openvla_wrapper": ("OpenVLAWrapper",),
    "own_sensor_config": ("OwnSensorConfig",),
    "registry": (
        "POLICY_REGISTRY",
        "load_policy",
    ),
    "sensor_encoders": ("SENSOR_ENCODER_REGISTRY",),
    "waypoint_controller": ("Controls", "WaypointController", "WaypointControllerConfig"),
    "sagr": ("SAGR",),
    "sagr_config": ("SAGRConfig",),
    "statevla": ("StateVLA",),
    "statevla_config": ("StateVLAConfig",),
    "vla_config": ("VLAConfig",),
    "smolvla_config": ("SmolVLAConfig",),
    "smolvla_wrapper": ("SmolVLAWrapper",),
    "vla_model": ("VLAModel",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
