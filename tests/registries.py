"""What users add to: every registry, and the plugins in use, put back after a test."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from tempovla.data.formats import FORMAT_REGISTRY
from tempovla.data.temporal.config import ROBOT_TYPE_REGISTRY
from tempovla.data.temporal.mixtures import NAMED_MIXTURES
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.temporal import context_config
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
from tempovla.model.vla.registry import POLICY_REGISTRY
from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY
from tempovla.model.vlm.vision_projector import PROJECTOR_REGISTRY
from tempovla.recipe.settings import values_only
from tempovla.recipe.systems.registry import SYSTEM_REGISTRY
from tempovla.timeline import plugins
from tempovla.transform.pipeline import TRANSFORM_REGISTRY

TABLES: tuple[MutableMapping[str, Any], ...] = (
    ACTION_HEAD_REGISTRY,
    ENCODER_REGISTRY,
    FORMAT_REGISTRY,
    MEMORY_REGISTRY,
    NAMED_MIXTURES,
    POLICY_REGISTRY,
    PROJECTOR_REGISTRY,
    ROBOT_TYPE_REGISTRY,
    SIMULATOR_REGISTRY,
    SYSTEM_REGISTRY,
    TEMPORAL_REGISTRY,
    TRANSFORM_REGISTRY,
    plugins._in_use,
)


@contextmanager
def registries_as_before() -> Iterator[None]:
    """No plugin is in use at first, and what is registered in here is forgotten at the end."""
    before = [dict(table) for table in TABLES]
    memories = context_config.MemoryOptions
    plugins._in_use.clear()
    try:
        yield
    finally:
        for table, entries in zip(TABLES, before, strict=True):
            table.clear()
            table.update(entries)
        context_config.MemoryOptions = memories
        values_only._TRUSTED[:] = []  # parsers forget the classes of plugins
