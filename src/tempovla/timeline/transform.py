"""Transforms: preprocessing that training and control share, and whose effect on actions can be undone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tempovla.timeline.policy import ActionChunk
from tempovla.timeline.sample import Context
from tempovla.timeline.track import Tracks


@runtime_checkable
class Transform(Protocol):
    """Deterministic, row-wise preprocessing with its inverse on actions (law 6: inverse(forward(a)) = a)."""

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Preprocess; in control `future` is empty, and the context must come out the same (law 8)."""

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Bring actions of a policy back into the units of the robot."""
