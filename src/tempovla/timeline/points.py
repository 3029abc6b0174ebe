"""Sets of points of varying number as arrays: absent points are rows of NaN.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_points(points: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Return (count, F) float32: the first `count` of the points (N, F), with rows of NaN behind them.

    Args:
        points: (N, F); where there are more than `count`, those that lie furthest behind in the array are left out.
        count: rows of the result.
    """
    padded = np.full((count, points.shape[1]), np.nan, np.float32)
    kept = points[:count]
    padded[: len(kept)] = kept
    return padded


def stack_points(sets: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Return (S, N, F) float32 of sets (N_i, F), where N is the largest of their numbers."""
    count = max(len(points) for points in sets)
    return np.stack([pad_points(points, count) for points in sets])
