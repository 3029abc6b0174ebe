"""Measurements of the inertial unit since the control step before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.scenes import US

MESSAGE = "ms_imu"
RATE_HZ = 100.0
"""Of the unit in nuScenes' cars [Hz]."""
_ROOM = 1.1
"""A window has room for so many times the measurements that it holds at that rate."""
_FIELDS = {"linear_accel": 3, "rotation_rate": 3}


@dataclass(frozen=True)
class Imu:
    """Of one scene.

    Attributes:
        times_us: (N,) increasing [us].
        values: (N, 6) accelerations [m/s2] and rotation rates [rad/s] about x, y and z.
        span_us: length of a window [us].
    """

    times_us: NDArray[np.int64]
    values: NDArray[np.float32]
    span_us: int

    def fill(self, step_us: int, window: NDArray[Any]) -> bool:
        """Put the measurements of the control period that ends at a time into an array.

        Args:
            step_us: when the control step is [us].
            window: (M, 7), full of NaN; see `timeline.driving.IMU_NAMES`. Of more than M, the newest are kept.

        Returns:
            whether there is any.
        """
        stop = int(np.searchsorted(self.times_us, step_us, side="right"))
        first = int(np.searchsorted(self.times_us, step_us - self.span_us, side="right"))
        first = max(first, stop - len(window))
        count = stop - first
        window[:count, 0] = (self.times_us[first:stop] - step_us) * US
        window[:count, 1:] = self.values[first:stop]
        return count > 0


def read_imu(can: CanBus, period_s: float) -> Imu | None:
    """Return the measurements of a scene; None where it has none.

    Args:
        can: its messages.
        period_s: control period [s].

    Raises:
        DatasetError: if the file of them is damaged.
    """
    found = can.rows(MESSAGE, _FIELDS)
    return None if found is None else Imu(found[0], found[1].astype(np.float32), round(period_s / US))


def window_size(rate_hz: float) -> int:
    """Return how many measurements a window of one control step at that rate [Hz] has room for."""
    return int(np.ceil(_ROOM * RATE_HZ / rate_hz))
