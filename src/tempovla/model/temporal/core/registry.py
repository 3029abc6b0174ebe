"""The temporal cores by name."""

from __future__ import annotations

from tempovla.model.temporal.core.base import TemporalCore
from tempovla.model.temporal.core.frames import TemporalFrames
from tempovla.model.temporal.core.recurrent import TemporalGRU, TemporalLSTM, TemporalMamba
from tempovla.model.temporal.core.transformer import TemporalTransformer

TEMPORAL_REGISTRY: dict[str, type[TemporalCore]] = {
    "transformer": TemporalTransformer,
    "lstm": TemporalLSTM,
    "gru": TemporalGRU,
    "mamba": TemporalMamba,
    "frames": TemporalFrames,
}
"""What `encoder_type` may name."""
