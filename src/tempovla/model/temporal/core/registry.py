"""The temporal cores by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import LazyRegistry

if TYPE_CHECKING:
    from tempovla.model.temporal.core.base import TemporalCore

TEMPORAL_REGISTRY: LazyRegistry[type[TemporalCore]] = LazyRegistry(
    {
        "transformer": "tempovla.model.temporal.core.transformer:TemporalTransformer",
        "lstm": "tempovla.model.temporal.core.recurrent:TemporalLSTM",
        "gru": "tempovla.model.temporal.core.recurrent:TemporalGRU",
        "mamba": "tempovla.model.temporal.core.recurrent:TemporalMamba",
        "frames": "tempovla.model.temporal.core.frames:TemporalFrames",
    }
)
"""What `encoder_type` may name. A core's module is loaded when the core is first asked for."""
