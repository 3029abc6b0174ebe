"""The memories of a policy by kind."""

from __future__ import annotations

from tempovla.model.temporal.memory.buffer import BufferMemoryConfig, MemoryBuffer
from tempovla.model.temporal.memory.explicit import ExplicitMemory, MemoryPartConfig
from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory, HierarchicalMemoryConfig
from tempovla.model.temporal.memory.working import WorkingMemory, WorkingMemoryConfig

MEMORY_REGISTRY: dict[str, tuple[type[MemoryPartConfig], type[ExplicitMemory]]] = {
    "buffer": (BufferMemoryConfig, MemoryBuffer),
    "hierarchical": (HierarchicalMemoryConfig, HierarchicalMemory),
    "working": (WorkingMemoryConfig, WorkingMemory),
}
"""By kind, the class of the options and that of the memory which they build."""
