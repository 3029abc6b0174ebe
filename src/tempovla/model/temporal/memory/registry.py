"""The memories of a policy by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tempovla.model.temporal.memory.config import (
    BufferMemoryConfig,
    HierarchicalMemoryConfig,
    MemoryPartConfig,
    WorkingMemoryConfig,
)
from tempovla.timeline.lazy import Lazy

if TYPE_CHECKING:
    from tempovla.model.temporal.memory.explicit import ExplicitMemory

MEMORY_REGISTRY: dict[str, tuple[type[MemoryPartConfig], Lazy[type[ExplicitMemory]]]] = {
    "buffer": (BufferMemoryConfig, "tempovla.model.temporal.memory.buffer:MemoryBuffer"),
    "hierarchical": (HierarchicalMemoryConfig, "tempovla.model.temporal.memory.hierarchical:HierarchicalMemory"),
    "working": (WorkingMemoryConfig, "tempovla.model.temporal.memory.working:WorkingMemory"),
}
"""By kind, the class of the options and that of the memory which they build, or where that is found."""
