"""Leads scripts that import the history encoders from here to where they are, in `history`."""

from tempovla.model.temporal.history.config import HistoryEncoderConfig
from tempovla.model.temporal.history.encoder import HistoryAwarePolicy, HistoryEncoder
from tempovla.model.temporal.history.streams import ActionHistoryEncoder, StateHistoryEncoder

__all__ = [
    "ActionHistoryEncoder",
    "HistoryAwarePolicy",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "StateHistoryEncoder",
]
