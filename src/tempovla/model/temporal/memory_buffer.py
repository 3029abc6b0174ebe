"""Leads scripts that import the memories from here to where they are, in `memory` and `tempovla.data.episodic`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
from tempovla.model.temporal.memory.working import WorkingMemory

__all__ = ["HierarchicalMemory", "MemoryBuffer", "MemoryConfig", "WorkingMemory"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """`EpisodicMemory`, which has moved."""
        if name == "EpisodicMemory":
            return import_module("tempovla.data.episodic").EpisodicMemory
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
