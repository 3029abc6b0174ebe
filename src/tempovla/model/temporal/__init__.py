"""Time inside a policy: encoders of what was seen and done, with the state passed explicitly.

Each name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.temporal.frame_sampling import TemporalFrames
    from tempovla.model.temporal.history_encoder import (
        ActionHistoryEncoder,
        HistoryAwarePolicy,
        HistoryEncoder,
        HistoryEncoderConfig,
        StateHistoryEncoder,
    )
    from tempovla.model.temporal.history_state import HistoryState
    from tempovla.model.temporal.temporal_core import TemporalOutput, TemporalState
    from tempovla.model.temporal.temporal_encoder import TemporalEncoder, TemporalEncoderConfig
    from tempovla.model.temporal.temporal_recurrent import TemporalGRU, TemporalLSTM, TemporalMamba
    from tempovla.model.temporal.temporal_transformer import TemporalTransformer

__all__ = [
    "ActionHistoryEncoder",
    "HistoryAwarePolicy",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "HistoryState",
    "StateHistoryEncoder",
    "TemporalEncoder",
    "TemporalEncoderConfig",
    "TemporalFrames",
    "TemporalGRU",
    "TemporalLSTM",
    "TemporalMamba",
    "TemporalOutput",
    "TemporalState",
    "TemporalTransformer",
]

_MODULES = {
    "frame_sampling": ("TemporalFrames",),
    "history_encoder": (
        "ActionHistoryEncoder",
        "HistoryAwarePolicy",
        "HistoryEncoder",
        "HistoryEncoderConfig",
        "StateHistoryEncoder",
    ),
    "history_state": ("HistoryState",),
    "temporal_core": ("TemporalOutput", "TemporalState"),
    "temporal_encoder": ("TemporalEncoder", "TemporalEncoderConfig"),
    "temporal_recurrent": ("TemporalGRU", "TemporalLSTM", "TemporalMamba"),
    "temporal_transformer": ("TemporalTransformer",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
