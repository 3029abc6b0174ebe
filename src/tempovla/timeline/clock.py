"""Clocks: streams run at their own rates; a read at a time returns the latest value at or before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST_JITTER_S = 1e-3
ROUNDING_S = 1e-9


def latest_at(
    timestamps_s: NDArray[np.float64], asked_s: NDArray[np.float64], tolerance_s: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the newest sample at or before each asked time, and whether it is fresh enough.

    Args:
        timestamps_s: (N,) increasing times of the stream's samples [s], N >= 1.
        asked_s: (T,) times [s].
        tolerance_s: how old a value may be and still count (its own bound included). A sample up to half of it, and
            at most 1 ms, ahead of the asked time counts as being at that time, so that clock jitter and rounded
            timestamps do not make a stream at control rate lag by one sample.

    Returns:
        index (T,) int64 clamped into [0, N), valid (T,) bool: False before the first sample, after the last one by
        more than the tolerance, and inside gaps wider than it.
    """
    jitter_s = min(0.5 * tolerance_s, LARGEST_JITTER_S)
    index = np.searchsorted(timestamps_s, asked_s + jitter_s, side="right") - 1
    clamped = np.clip(index, 0, len(timestamps_s) - 1)
    age_s = asked_s - timestamps_s[clamped]
    valid = (index >= 0) & (age_s <= tolerance_s + ROUNDING_S)
    return clamped.astype(np.int64), valid
