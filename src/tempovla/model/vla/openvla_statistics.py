"""Action statistics in OpenVLA's checkpoints, by dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

_REMEDY = "copy the checkpoint again"
_LARGEST = 1e18
"""Beyond this lies nothing that was recorded."""


@dataclass(frozen=True)
class ActionStatistics:
    """How the actions of one dataset were normalised: the 1st to 99th percentile to [-1, 1].

    Attributes:
        low: (A,) the 1st percentile, float32.
        high: (A,) the 99th.
        mask: (A,) bool, False for dimensions that were left as they are, such as a gripper.
    """

    low: Tensor
    high: Tensor
    mask: Tensor

    @classmethod
    def of(cls, norm_stats: Mapping[str, Any], unnorm_key: str | None = None) -> ActionStatistics:
        """Return the statistics of one dataset of a checkpoint's `norm_stats`; the name may be left out where there is
        one.

        Raises:
            ValueError: if there is no such dataset, it has no quantiles of actions, or such as no actions have.
        """
        known = sorted(norm_stats)
        if unnorm_key is None and len(known) == 1:
            unnorm_key = known[0]
        if unnorm_key is None or unnorm_key not in norm_stats:
            near = get_close_matches(unnorm_key or "", known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {known}"
            raise ValueError(f"unnorm_key={unnorm_key!r} is no dataset of this checkpoint's norm_stats; {hint}")
        action = norm_stats[unnorm_key].get("action", {})
        missing = [key for key in ("q01", "q99") if key not in action]
        if missing:
            raise ValueError(f"norm_stats of {unnorm_key!r} have no {missing} of actions; copy the checkpoint again")
        where = f"norm_stats of {unnorm_key!r}"
        low, high = (_numbers(action[key], f"{where}: {key}") for key in ("q01", "q99"))
        given = action.get("mask", [True] * len(low))
        if not isinstance(given, list) or not all(isinstance(scaled, bool) for scaled in given):
            raise ValueError(f"{where}: mask is {_shown(given)}, not a list of true and false; {_REMEDY}")
        if not len(low) == len(high) == len(given):
            raise ValueError(
                f"{where}: q01 has {len(low)} dimensions, q99 {len(high)} and mask {len(given)}, but they are of the "
                f"same actions; {_REMEDY}"
            )
        mask = torch.tensor(given, dtype=torch.bool)
        wrong = ((low > high) & mask).nonzero()
        if len(wrong):
            d = int(wrong[0])
            raise ValueError(f"{where}: of dimension {d} q01 is {low[d]:g} and q99 is {high[d]:g}; {_REMEDY}")
        return cls(low, high, mask)

    def to_json(self) -> dict[str, Any]:
        """Return one dataset's entry of `norm_stats`; `of` reads it."""
        return {"action": {"q01": self.low.tolist(), "q99": self.high.tolist(), "mask": self.mask.tolist()}}

    @property
    def kept(self) -> tuple[int, ...]:
        """The dimensions that were left as they are."""
        return tuple(dimension for dimension, scaled in enumerate(self.mask.tolist()) if not scaled)

    def unnormalize(self, actions: Tensor) -> Tensor:
        """Return actions (..., A) from [-1, 1] back in the robot's units."""
        low, high, mask = (x.to(actions.device) for x in (self.low, self.high, self.mask))
        return torch.where(mask, 0.5 * (actions + 1.0) * (high - low) + low, actions)


def _numbers(values: Any, where: str) -> Tensor:
    """(A,) float32.

    Raises:
        ValueError: if they are no list of numbers, or not finite.
    """
    listed = isinstance(values, list) and values and all(type(value) in (int, float) for value in values)
    if not listed:
        raise ValueError(f"{where} is {_shown(values)}, not a list of numbers; {_REMEDY}")
    for dimension, value in enumerate(values):
        if not abs(value) <= _LARGEST:
            raise ValueError(f"{where} is {value:g} in dimension {dimension}, which no action has; {_REMEDY}")
    return torch.tensor(values, dtype=torch.float32)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
