"""Events of recorded trajectories, by their documented thresholds."""

from __future__ import annotations

import numpy as np

from tempovla.recipe.evaluation.open_loop.events import events_of


def steps(forward: list[float], turn: float = 0.0) -> np.ndarray:
    """Six steps of a car with these ways forward [m] and turns [rad]."""
    return np.stack([forward, np.zeros(6), np.full(6, turn)], axis=-1)


def test_each_trajectory_has_one_event():
    sixteen_degrees = np.deg2rad(16) / 6
    cases = {
        "standstill": steps([0.15] * 6),
        "cruising": steps([2.0] * 6),
        "braking": steps([2.0, 2.0, 1.8, 1.6, 1.4, 1.2]),  # 4 m/s to 2.4 m/s
        "turning": steps([2.0, 2.0, 1.8, 1.6, 1.4, 1.2], sixteen_degrees),
    }
    assert events_of(np.stack([*cases.values()]), 2.0).tolist() == [*cases]


def test_thresholds_are_those_of_the_documentation():
    just = [
        steps([1.0 / 6 + 1e-9] * 6),  # 1 m within 3 s
        steps([2.0] * 6, np.deg2rad(15) / 6 - 1e-9),
        steps([2.0] * 5 + [1.25]),  # slower by 1.5 m/s
        steps([1.0] * 5 + [2.0]),  # faster at the end
    ]
    assert events_of(np.stack(just), 2.0).tolist() == ["cruising"] * 4
