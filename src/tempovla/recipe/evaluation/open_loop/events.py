"""What happens on a recorded trajectory, so that figures can be told apart by it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tempovla.recipe.evaluation.open_loop.trajectories import Array

Event = Literal["standstill", "turning", "braking", "cruising"]
EVENTS: tuple[Event, ...] = ("standstill", "turning", "braking", "cruising")
"""In the order in which they are looked for: each trajectory is of the first that it fits."""
STANDSTILL_M = 1.0
"""A car that drives less than this within the trajectory stands [m]."""
TURNING_RAD = np.deg2rad(15.0)
"""One whose heading changes by more than this until the end turns [rad]."""
BRAKING_M_S = 1.5
"""One that is slower by more than this at the end than at its fastest step before brakes [m/s]."""


def events_of(steps: Array, rate_hz: float) -> NDArray[np.str_]:
    """Return the event of each of N recorded trajectories.

    Args:
        steps: (N, H, 3) forward [m], left [m] and turn [rad] of each control step, all of them known.
        rate_hz: control rate [Hz].

    Returns:
        (N,) names in `EVENTS`.
    """
    driven = np.hypot(steps[..., 0], steps[..., 1])
    slowed = (driven.max(axis=1) - driven[:, -1]) * rate_hz
    conditions = [
        driven.sum(axis=1) < STANDSTILL_M,
        np.abs(steps[..., 2].sum(axis=1)) > TURNING_RAD,
        slowed > BRAKING_M_S,
    ]
    return np.select(conditions, EVENTS[:-1], EVENTS[-1])
