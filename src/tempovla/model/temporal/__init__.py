"""Time inside a policy: encoders of what was seen and done, with the state passed explicitly.

Each name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.temporal.history_encoder import (
        ActionHistoryEncoder,
        HistoryAwarePolicy,
        HistoryEncoder,
        HistoryEncoderConfig,
        StateHistoryEncoder,
    )
    from tempovla.model.temporal.history_state import HistoryState

__all__ = [
    "ActionHistoryEncoder",
    "HistoryAwarePolicy",
    "HistoryEncoder",
    "HistoryEncoderConfig",
    "HistoryState",
    "StateHistoryEncoder",
]

_MODULES = {
    "history_encoder": (
        "ActionHistoryEncoder",
        "HistoryAwarePolicy",
        "HistoryEncoder",
        "HistoryEncoderConfig",
        "StateHistoryEncoder",
    ),
    "history_state": ("HistoryState",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
