"""Time inside a policy: encoders of what was seen and done, and memories, with the state passed explicitly.

Each name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.temporal.context_config import ContextConfig
    from tempovla.model.temporal.episodic_memory import EpisodicMemory
    from tempovla.model.temporal.frame_sampling import TemporalFrames
    from tempovla.model.temporal.hierarchical_memory import HierarchicalMemory, HierarchicalMemoryConfig
    from tempovla.model.temporal.history_encoder import (
        ActionHistoryEncoder,
        HistoryAwarePolicy,
        HistoryEncoder,
        HistoryEncoderConfig,
        StateHistoryEncoder,
    )
    from tempovla.model.temporal.history_state import HistoryState
    from tempovla.model.temporal.history_streams import HistoryPartConfig
    from tempovla.model.temporal.memory_buffer import BufferMemoryConfig, MemoryBuffer, MemoryConfig
    from tempovla.model.temporal.memory_registry import MEMORY_REGISTRY
    from tempovla.model.temporal.temporal_config import TemporalPartConfig
    from tempovla.model.temporal.temporal_core import TemporalOutput, TemporalState
    from tempovla.model.temporal.temporal_encoder import TemporalEncoder, TemporalEncoderConfig
    from tempovla.model.temporal.temporal_recurrent import TemporalGRU, TemporalLSTM, TemporalMamba
    from tempovla.model.temporal.temporal_registry import TEMPORAL_REGISTRY
    from tempovla.model.temporal.temporal_transformer import TemporalTransformer
    from tempovla.model.temporal.working_memory import WorkingMemory, WorkingMemoryConfig

__all__ = [
    "MEMORY_REGISTRY",
    "TEMPORAL_REGISTRY",
    "ActionHistoryEncoder",
    "BufferMemoryConfig",
    "ContextConfig",
    "EpisodicMemory",
    "HierarchicalMemory",
    "HierarchicalMemoryConfig",
    "HistoryAwarePolicy",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "HistoryPartConfig",
    "HistoryState",
    "MemoryBuffer",
    "MemoryConfig",
    "StateHistoryEncoder",
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
]

_MODULES = {
    "context_config": ("ContextConfig",),
    "episodic_memory": ("EpisodicMemory",),
    "frame_sampling": ("TemporalFrames",),
    "hierarchical_memory": (
        "HierarchicalMemory",
        "HierarchicalMemoryConfig",
    ),
    "history_encoder": (
        "ActionHistoryEncoder",
        "HistoryAwarePolicy",
        "HistoryEncoder",
        "HistoryEncoderConfig",
        "StateHistoryEncoder",
    ),
    "history_state": ("HistoryState",),
    "history_streams": ("HistoryPartConfig",),
    "memory_buffer": (
        "BufferMemoryConfig",
        "MemoryBuffer",
        "MemoryConfig",
    ),
    "memory_registry": ("MEMORY_REGISTRY",),
    "temporal_config": ("TemporalPartConfig",),
    "temporal_core": (
        "TemporalOutput",
        "TemporalState",
    ),
    "temporal_encoder": (
        "TemporalEncoder",
        "TemporalEncoderConfig",
    ),
    "temporal_recurrent": (
        "TemporalGRU",
        "TemporalLSTM",
        "TemporalMamba",
    ),
    "temporal_registry": ("TEMPORAL_REGISTRY",),
    "temporal_transformer": ("TemporalTransformer",),
    "working_memory": (
        "WorkingMemory",
        "WorkingMemoryConfig",
    ),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
