"""The simulators by name. A simulator's module is loaded at first use."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from tempovla.timeline.lazy import Lazy, loaded, names_it

if TYPE_CHECKING:
    from tempovla.env.protocol import SimulatorConfig

SIMULATOR_REGISTRY: dict[str, tuple[Lazy[type[SimulatorConfig]], str]] = {
    "dmc": ("tempovla.env.dm_control:DmControlConfig", "DeepMind Control's tasks"),
    "driving": ("tempovla.env.driving.config:DrivingConfig", "a small town to drive in"),
    "gym": ("tempovla.env.gymnasium_env:GymnasiumConfig", "any environment of Gymnasium"),
    "libero": ("tempovla.env.libero:LiberoConfig", "LIBERO's manipulation suites"),
    "memory": ("tempovla.env.memory:MemoryConfig", "the memory benchmark"),
    "metaworld": ("tempovla.env.metaworld:MetaWorldConfig", "Meta-World's tabletop tasks"),
}
"""Name to the class of its config, or where that is found, and to what the simulator is called in the help."""

WITHOUT_EXPERTS = frozenset({"dmc", "gym"})
"""Simulators in which nothing demonstrates the tasks; the help says so without loading their modules."""


def simulator_class(name: str) -> type[SimulatorConfig]:
    """Return the class of a simulator's config.

    Raises:
        ValueError: if there is no such simulator, with the nearest name.
    """
    if name not in SIMULATOR_REGISTRY:
        near = get_close_matches(str(name), SIMULATOR_REGISTRY, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(SIMULATOR_REGISTRY))}"
        raise ValueError(f"simulator {name!r} is unknown; {hint}")
    return loaded(SIMULATOR_REGISTRY[name][0])


def simulator_name(config: SimulatorConfig) -> str:
    """Return the name of a config's simulator.

    Raises:
        ValueError: if its class is not registered.
    """
    for name, (entry, _) in SIMULATOR_REGISTRY.items():
        if any(names_it(entry, base) for base in type(config).__mro__):
            return name
    raise ValueError(
        f"{type(config).__name__} is not registered; add a line to SIMULATOR_REGISTRY in tempovla.env.registry"
    )
