"""The simulators by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tempovla.env.libero import LiberoConfig
from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.protocol import SimulatorConfig

SIMULATORS: Mapping[str, type[SimulatorConfig]] = MappingProxyType(
    {
        "metaworld": MetaWorldConfig,
        "libero": LiberoConfig,
        "memory": MemoryConfig,
    }
)


def simulator_name(config: SimulatorConfig) -> str:
    """The name of a config's simulator."""
    return next(name for name, config_class in SIMULATORS.items() if isinstance(config, config_class))
