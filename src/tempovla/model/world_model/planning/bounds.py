"""Bounds of actions, and the way from a search in [-1, 1] to actions within them and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tempovla.model.world_model.planning.search import Plan

Numbers = Tensor | Sequence[float] | float


@dataclass(frozen=True)
class ActionBounds:
    """Least and greatest value of each dimension of an action.

    Attributes:
        low: (A,) float32.
        high: (A,) float32, above `low`.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, low: Numbers | None, high: Numbers | None, action_dim: int | None = None) -> ActionBounds:
        """Return checked bounds.

        Args:
            low: a number for each dimension, or one for all; None together with `high` is -1.
            high: the same; None together with `low` is 1.
            action_dim: number of dimensions A; None takes that of the bounds.

        Raises:
            ValueError: if one of the bounds is missing, they are not finite, are out of order or of another size, or
                nothing tells how many dimensions there are.
        """
        if (low is None) != (high is None):
            given, missing = ("low", "high") if high is None else ("high", "low")
            raise ValueError(f"{given}={_brief(low if high is None else high)} without {missing}; give both bounds")
        pair = [
            torch.as_tensor(each, dtype=torch.float32)
            for each in (-1.0 if low is None else low, 1.0 if high is None else high)
        ]
        dims = action_dim or next((len(each) for each in pair if each.ndim == 1), None)
        if dims is None:
            raise ValueError("the world model has no action_dim; give low and high, a number for each dimension")
        for name, each in zip(("low", "high"), pair, strict=True):
            if each.ndim > 1 or (each.ndim == 1 and len(each) != dims):
                raise ValueError(f"{name}={_brief(each)} must be {dims} numbers, one for each dimension of an action")
            if not torch.isfinite(each).all():
                raise ValueError(f"{name}={_brief(each)} must be finite; a search needs bounds to draw within")
        least, most = (each.expand(dims) for each in pair)
        if not (least < most).all():
            raise ValueError(f"low={_brief(least)} must be below high={_brief(most)} in every dimension")
        return cls(least, most)

    def to(self, device: torch.device) -> ActionBounds:
        """Return the bounds on a device."""
        return ActionBounds(self.low.to(device), self.high.to(device))

    def actions(self, unit: Tensor) -> Tensor:
        """Return actions (..., A) within the bounds from numbers (..., A) in [-1, 1]."""
        actions = self.low + (unit + 1.0) / 2.0 * (self.high - self.low)
        return actions.clamp(self.low, self.high)  # which rounding may leave

    def unit(self, actions: Tensor) -> Tensor:
        """Return numbers (..., A) in [-1, 1] from actions (..., A), which are cut off at the bounds."""
        return ((actions - self.low) / (self.high - self.low) * 2.0 - 1.0).clamp(-1.0, 1.0)

    def plan(self, unit: Plan) -> Plan:
        """Return a plan that was found in [-1, 1] as one of actions."""
        half = (self.high - self.low) / 2.0
        return replace(unit, actions=self.actions(unit.actions), mean=self.actions(unit.mean), std=unit.std * half)


def _brief(numbers: Any) -> str:
    """Numbers in a message."""
    return str(numbers.tolist() if isinstance(numbers, Tensor) else numbers)
