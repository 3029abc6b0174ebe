"""Losses as (prediction, target, valid): the only place that reduces anything over a mask."""

from tempovla.objective.objective import LossReport, Objective

__all__ = ["LossReport", "Objective"]
