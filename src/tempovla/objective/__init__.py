"""Losses as (prediction, target, valid): the only place that reduces anything over a mask."""

from tempovla.objective.objective import LossReport, Objective, with_weights
from tempovla.objective.temporal_loss import temporal_loss

__all__ = ["LossReport", "Objective", "temporal_loss", "with_weights"]
