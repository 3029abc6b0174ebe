"""The memories of a policy by kind."""

from __future__ import annotations

from tempovla.model.temporal.explicit_memory import ExplicitMemory
from tempovla.model.temporal.hierarchical_memory import HierarchicalMemory, HierarchicalMemoryConfig
from tempovla.model.temporal.memory_buffer import BufferMemoryConfig, MemoryBuffer
from tempovla.model.temporal.memory_part import MemoryPartConfig
from tempovla.model.temporal.working_memory import WorkingMemory, WorkingMemoryConfig

MEMORY_REGISTRY: dict[str, tuple[type[MemoryPartConfig], type[ExplicitMemory]]] = {
    "buffer": (BufferMemoryConfig, MemoryBuffer),
    "hierarchical": (HierarchicalMemoryConfig, HierarchicalMemory),
    "working": (WorkingMemoryConfig, WorkingMemory),
}
"""By kind, the class of the options and that of the memory which they build."""
