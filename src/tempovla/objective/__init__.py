"""Losses as (prediction, target, valid): the only place that reduces anything over a mask.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.objective.objective import LossReport, Objective, with_weights
    from tempovla.objective.smooth_actions import temporal_loss
    from tempovla.objective.weights import WeightSchedule

__all__ = ["LossReport", "Objective", "WeightSchedule", "temporal_loss", "with_weights"]

_MODULES = {
    "objective": ("LossReport", "Objective", "with_weights"),
    "smooth_actions": ("temporal_loss",),
    "weights": ("WeightSchedule",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
