"""The car's inertial sensor: accelerations and turn rates at 100 Hz, in the ego frame."""

from __future__ import annotations

import numpy as np

from tempovla.env.driving.car import SUBSTEP_S, CarState

GRAVITY_M_S2 = 9.81
_NOISE_M_S2, _NOISE_RAD_S = 0.05, 0.002


def measure(states: list[CarState], generator: np.random.Generator) -> np.ndarray:
    """Return measurements (N, 7) float32 of the states of a control step, oldest first.

    Args:
        states: `SUBSTEP_S` apart, the last one at the present moment.
        generator: of the noise.

    Returns:
        time relative to the last one [s], accelerations along x, y and z [m/s2], gravity included, and turn rates about
        x, y and z [rad/s].
    """
    count = len(states)
    rows = np.zeros((count, 7))
    rows[:, 0] = (np.arange(count) - count + 1) * SUBSTEP_S
    rows[:, 1] = [state.acceleration for state in states]
    rows[:, 2] = [state.speed * state.yaw_rate for state in states]
    rows[:, 3] = GRAVITY_M_S2
    rows[:, 6] = [state.yaw_rate for state in states]
    rows[:, 1:4] += _NOISE_M_S2 * generator.standard_normal((count, 3))
    rows[:, 4:7] += _NOISE_RAD_S * generator.standard_normal((count, 3))
    return rows.astype(np.float32)
