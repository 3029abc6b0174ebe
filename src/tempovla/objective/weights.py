"""Schedules of the weights of loss terms, as pure functions of the optimiser step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WeightSchedule:
    """A schedule of a loss term's weight: a factor that goes from one value to another.

    Attributes:
        start: factor before the change.
        end: factor after it.
        begin: optimiser step at which the change begins.
        steps: optimiser steps that it takes; 0 is at once.
        shape: `linear`, or half a `cosine`, which begins and ends slowly.
    """

    start: float = 0.0
    end: float = 1.0
    begin: int = 0
    steps: int = 1000
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not math.isfinite(getattr(self, name)) or getattr(self, name) < 0:
                raise ValueError(f"loss_weights: {name}={getattr(self, name)} must be finite and not negative")
        for name in ("begin", "steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss_weights: {name}={getattr(self, name)} must not be negative")
        if self.start == self.end == 0:
            raise ValueError("loss_weights: start=0 and end=0 never train the term; leave one of them above 0")
        if self.shape not in ("linear", "cosine"):
            raise ValueError(f"loss_weights: shape={self.shape!r} is unknown; choose linear or cosine")

    def at(self, train_step: int) -> float:
        """Return the factor at an optimiser step, counted from 0."""
        if train_step < self.begin:
            return self.start
        passed = 1.0 if self.steps == 0 else min(1.0, (train_step - self.begin) / self.steps)
        if self.shape == "cosine":
            passed = 0.5 - 0.5 * math.cos(math.pi * passed)
        return self.start + (self.end - self.start) * passed
