"""Means of figures since the last line of the log."""

from __future__ import annotations

from collections.abc import Mapping


class IntervalFigures:
    """Adds up the figures of steps, and gives their means.

    Attributes:
        sums: what was added since the last `take`, as plain JSON values, for checkpoints.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add(self, figures: Mapping[str, float], rows: int, seconds: float) -> None:
        """Add one step.

        Args:
            figures: of the step.
            rows: samples that it learned from, over all processes.
            seconds: that it took [s].
        """
        for name, value in {**figures, "steps": 1, "rows": rows, "seconds": seconds}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means over the steps that were added, with `samples_per_s`; begins anew."""
        sums, self.sums = self.sums, {}
        steps, rows, seconds = (sums.pop(name) for name in ("steps", "rows", "seconds"))
        return {name: value / steps for name, value in sums.items()} | {"samples_per_s": rows / seconds}
