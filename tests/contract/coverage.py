"""Which registered components no case of the laws reaches, by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tests.contract.memory_cases import EncoderMemory
from tests.contract.registry import MEMORIES, POLICIES, SOURCES, TRANSFORMS

from tempovla.data.formats import FORMAT_REGISTRY, OpenOptions
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.temporal.context_config import PARTS
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY
from tempovla.model.vlm.vision_projector import PROJECTOR_REGISTRY
from tempovla.timeline.lazy import Lazy, loaded
from tempovla.transform.pipeline import TRANSFORM_REGISTRY


def _missing(registered: Iterable[Lazy[type]], covered: Iterable[type]) -> list[str]:
    """Names of the classes of this package that are registered and not covered."""
    own = {each for each in map(loaded, registered) if each.__module__.startswith("tempovla.")}
    return sorted(each.__name__ for each in own - set(covered))


@cache
def _built() -> tuple[Any, ...]:
    """All policies under the laws."""
    return tuple(case.build() for case in POLICIES.values())


def _policies() -> list[str]:
    return _missing((policy for policy, _ in POLICY_REGISTRY.values()), {type(policy) for policy in _built()})


def _transforms() -> list[str]:
    built = [build() for build in TRANSFORMS.values()]
    steps = {type(step) for transform in built for step in getattr(transform, "steps", (transform,))}
    return _missing(TRANSFORM_REGISTRY.values(), steps)


def _cores() -> list[str]:
    built = [case.build() for case in MEMORIES.values()]
    cores = {type(memory.encoder.core) for memory in built if isinstance(memory, EncoderMemory)}
    return _missing(TEMPORAL_REGISTRY.values(), cores)


def _parts(attribute: str) -> set[type]:
    """Classes of one part, named with dots, of all policies under the laws that have it."""
    found = set()
    for policy in _built():
        part = base_of(policy)
        for name in attribute.split("."):
            part = getattr(part, name, None)
        found.add(type(part))
    return found


def _memories() -> list[str]:
    return _missing((memory for _, memory in MEMORY_REGISTRY.values()), {type(c.build()) for c in MEMORIES.values()})


def _context_parts() -> list[str]:
    """Names of the parts that a context may have and no policy under the laws has."""
    built = [getattr(policy, "context", None) for policy in _built()]
    return sorted(set(PARTS) - {name for context in built if context is not None for name in context.parts})


UNCOVERED: dict[str, Callable[[], list[str]]] = {
    "policies": _policies,
    "transforms": _transforms,
    "temporal cores": _cores,
    "action heads": lambda: _missing(ACTION_HEAD_REGISTRY.values(), _parts("action_head")),
    "vision encoders": lambda: _missing(ENCODER_REGISTRY.values(), _parts("vlm.vision.encoder")),
    "vision projectors": lambda: _missing(PROJECTOR_REGISTRY.values(), _parts("vlm.projector")),
    "memories": _memories,
    "parts of a context": _context_parts,
}
"""By kind, what gives the names of the registered classes without a case."""


def uncovered_formats(folder: Path) -> list[str]:
    """Names of the formats of datasets without a case; those with one must recognise and open its dataset."""
    missing = [name for name in FORMAT_REGISTRY if name.replace("_", "-") not in SOURCES]
    for name in FORMAT_REGISTRY.keys() - missing:
        source = SOURCES[name.replace("_", "-")].build(folder / name)
        assert FORMAT_REGISTRY[name].recognises(folder / name)
        assert type(FORMAT_REGISTRY[name].open(folder / name, OpenOptions())) is type(source)
    return missing
