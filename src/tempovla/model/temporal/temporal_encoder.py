"""Leads scripts that import the temporal encoders from here to where they are, in `core`."""

from tempovla.model.temporal.core.base import TemporalOutput, TemporalState
from tempovla.model.temporal.core.config import TemporalEncoderConfig
from tempovla.model.temporal.core.encoder import TemporalEncoder
from tempovla.model.temporal.core.recurrent import TemporalGRU, TemporalLSTM, TemporalMamba
from tempovla.model.temporal.core.transformer import TemporalTransformer

__all__ = [
    "TemporalEncoder",
    "TemporalEncoderConfig",
    "TemporalGRU",
    "TemporalLSTM",
    "TemporalMamba",
    "TemporalOutput",
    "TemporalState",
    "TemporalTransformer",
]
