"""Check that the last dimension of a dataset's actions is a binary gripper."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from tempovla.data.gripper_values import GRIPPER, last_name, last_values, shown
from tempovla.timeline import EpisodeSource

LOGGER = logging.getLogger(__name__)

MOST_COUNTED = 1000
"""Messages give no number of distinct values above this."""


def gripper_problem(source: EpisodeSource) -> str | None:
    """Return why the last action dimension is no gripper in {-1, +1}: one that is not could be learned, but not
    executed.

    Every step of every episode must be -1 or +1. A gripper that never moves is allowed with a warning: the policy
    will never move it.
    """
    values, name = last_values(source, MOST_COUNTED), last_name(source)
    if set(values.tolist()) <= GRIPPER:
        if len(values) == 1:
            LOGGER.warning("%s: %s is always %g; the policy's gripper will never move", source.name, name, values[0])
        return None
    return f"{name} {_told(values)}, so it is no gripper in {{-1, +1}}"


def _told(values: NDArray[np.float64]) -> str:
    if len(values) <= 4:
        *others, last = shown(values)
        return f"takes {', '.join(others)} and {last}" if others else f"is always {last}"
    count = f"more than {MOST_COUNTED}" if len(values) > MOST_COUNTED else f"{len(values)}"
    low, high = shown(values[[0, -1]])
    return f"takes {count} values between {low} and {high}"
