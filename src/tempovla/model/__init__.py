"""Models: tensors in, tensors and loss terms out, without files, loggers or simulators.

Whole policies can be imported from here; each is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
    from tempovla.model.vla.openvla_wrapper import OpenVLAWrapper
    from tempovla.model.vla.sagr import SAGR
    from tempovla.model.vla.smolvla_wrapper import SmolVLAWrapper
    from tempovla.model.vla.statevla import StateVLA
    from tempovla.model.vla.vla_model import VLAModel

__all__ = ["SAGR", "MultiSensorVLA", "OpenVLAWrapper", "SmolVLAWrapper", "StateVLA", "VLAModel"]

_MODULES = {
    "vla.multi_sensor_vla": ("MultiSensorVLA",),
    "vla.openvla_wrapper": ("OpenVLAWrapper",),
    "vla.sagr": ("SAGR",),
    "vla.smolvla_wrapper": ("SmolVLAWrapper",),
    "vla.statevla": ("StateVLA",),
    "vla.vla_model": ("VLAModel",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
