"""Time inside a policy: encoders of what was seen and done, and memories, with the state passed explicitly.

Each name is loaded when it is first used. `EpisodicMemory` lives in `tempovla.data.episodic` and can also be imported
from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.temporal.context import ContextModule, ContextState
    from tempovla.model.temporal.context_config import ContextConfig, register_memory
    from tempovla.model.temporal.core.base import TemporalCore, TemporalOutput, TemporalState
    from tempovla.model.temporal.core.config import TemporalEncoderConfig, TemporalPartConfig
    from tempovla.model.temporal.core.encoder import TemporalEncoder
    from tempovla.model.temporal.core.frames import TemporalFrames
    from tempovla.model.temporal.core.recurrent import TemporalGRU, TemporalLSTM, TemporalMamba
    from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY
    from tempovla.model.temporal.core.transformer import TemporalTransformer
    from tempovla.model.temporal.history.config import HistoryEncoderConfig, HistoryPartConfig
    from tempovla.model.temporal.history.encoder import HistoryAwarePolicy, HistoryEncoder
    from tempovla.model.temporal.history.state import HistoryState
    from tempovla.model.temporal.history.streams import ActionHistoryEncoder, StateHistoryEncoder
    from tempovla.model.temporal.memory.buffer import MemoryBuffer, MemoryConfig
    from tempovla.model.temporal.memory.config import (
        BufferMemoryConfig,
        HierarchicalMemoryConfig,
        MemoryPartConfig,
        WorkingMemoryConfig,
    )
    from tempovla.model.temporal.memory.explicit import ExplicitMemory
    from tempovla.model.temporal.memory.hierarchical import HierarchicalMemory
    from tempovla.model.temporal.memory.registry import MEMORY_REGISTRY
    from tempovla.model.temporal.memory.working import WorkingMemory
    from tempovla.model.temporal.retrieval.config import RetrievalPartConfig

__all__ = [
    "MEMORY_REGISTRY",
    "TEMPORAL_REGISTRY",
    "ActionHistoryEncoder",
    "BufferMemoryConfig",
    "ContextConfig",
    "ContextModule",
    "ContextState",
    "ExplicitMemory",
    "HierarchicalMemory",
    "HierarchicalMemoryConfig",
    "HistoryAwarePolicy",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "HistoryPartConfig",
    "HistoryState",
    "MemoryBuffer",
    "MemoryConfig",
    "MemoryPartConfig",
    "RetrievalPartConfig",
    "StateHistoryEncoder",
    "TemporalCore",
    "TemporalEncoder",
    "TemporalEncoderConfig",
    "TemporalFrames",
    "TemporalGRU",
    "TemporalLSTM",
    "TemporalMamba",
    "TemporalOutput",
    "TemporalPartConfig",
    "TemporalState",
    "TemporalTransformer",
    "WorkingMemory",
    "WorkingMemoryConfig",
    "register_memory",
]

_MODULES = {
    "context": ("ContextModule", "ContextState"),
    "context_config": ("ContextConfig", "register_memory"),
    "core.base": ("TemporalCore", "TemporalOutput", "TemporalState"),
    "core.config": ("TemporalEncoderConfig", "TemporalPartConfig"),
    "core.encoder": ("TemporalEncoder",),
    "core.frames": ("TemporalFrames",),
    "core.recurrent": ("TemporalGRU", "TemporalLSTM", "TemporalMamba"),
    "core.registry": ("TEMPORAL_REGISTRY",),
    "core.transformer": ("TemporalTransformer",),
    "history.config": ("HistoryEncoderConfig", "HistoryPartConfig"),
    "history.encoder": ("HistoryAwarePolicy", "HistoryEncoder"),
    "history.state": ("HistoryState",),
    "history.streams": ("ActionHistoryEncoder", "StateHistoryEncoder"),
    "memory.config": (
        "BufferMemoryConfig",
        "HierarchicalMemoryConfig",
        "MemoryPartConfig",
        "WorkingMemoryConfig",
    ),
    "memory.buffer": ("MemoryBuffer", "MemoryConfig"),
    "memory.explicit": ("ExplicitMemory",),
    "memory.hierarchical": ("HierarchicalMemory",),
    "memory.registry": ("MEMORY_REGISTRY",),
    "memory.working": ("WorkingMemory",),
    "retrieval.config": ("RetrievalPartConfig",),
}

if not TYPE_CHECKING:
    _offered = lazy_names(__name__, _MODULES)

    def __getattr__(name: str) -> Any:
        """Return a name of this package, or one that has moved out of it."""
        if name == "EpisodicMemory":
            return import_module("tempovla.data.episodic").EpisodicMemory
        return _offered(name)
