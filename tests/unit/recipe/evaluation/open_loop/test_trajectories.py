"""Errors of trajectories, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.recipe.evaluation.open_loop.trajectories import (
    at_time,
    best_of,
    displacement_errors,
    distances,
    known_poses,
    poses_of,
    relative_to,
)

TRUE = np.zeros((1, 6, 3))
"""A car that stands."""
AHEAD = np.array([[[0.5, 0, 0], [1, 0, 0], [1.5, 0, 0], [2, 0, 0], [2.5, 0, 0], [3, 0, 0]]])
"""One that drives 1 m/s, at 2 Hz."""


def test_steps_compose_to_poses_in_the_frame_of_now():
    quarter = np.pi / 2
    steps = np.array([[[2.0, 0.0, quarter], [3.0, 0.0, quarter], [1.0, 0.5, 0.0]]])
    expected = [[2, 0, quarter], [2, 3, np.pi], [1, 2.5, np.pi]]
    np.testing.assert_allclose(poses_of(steps)[0], expected, atol=1e-12)


def test_poses_in_another_frame_compose_back():
    rng = np.random.default_rng(0)
    origin, step = rng.normal(size=(2, 5, 3))
    both = poses_of(np.stack([origin, step], axis=1))
    np.testing.assert_allclose(relative_to(both[:, 1], both[:, 0]), step, atol=1e-12)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [("uniad", {2: 1.0, 4: 2.0, 6: 3.0}), ("stp3", {2: 0.75, 4: 1.25, 6: 1.75})],
)
def test_the_two_conventions_differ_by_almost_two(convention, expected):
    error = distances(AHEAD, TRUE)
    for steps, value in expected.items():
        told, known = at_time(error, np.ones((1, 6), bool), steps, convention)
        assert (told[0], known[0]) == (pytest.approx(value), True)


def test_a_time_beyond_what_is_known_does_not_count():
    valid = np.array([[True, True, False, True, True, True]])
    known = known_poses(valid)
    assert known.tolist() == [[True, True, False, False, False, False]]
    error = distances(AHEAD, TRUE)
    assert at_time(error, known, 2, "stp3")[1].tolist() == [True]
    for convention in ("uniad", "stp3"):
        value, is_known = at_time(error, known, 4, convention)
        assert (value.tolist(), is_known.tolist()) == ([0.0], [False])


def test_a_time_beyond_the_trajectory_is_refused():
    with pytest.raises(ValueError, match="steps=7 must be from 1 to 6, the length of the trajectories"):
        at_time(distances(AHEAD, TRUE), np.ones((1, 6), bool), 7, "uniad")


def test_mean_and_final_error_and_misses():
    mean, final, missed = displacement_errors(distances(AHEAD, TRUE))
    assert (mean[0], final[0], missed[0]) == (1.75, 3.0, True)
    back = AHEAD[:, [0, 1, 2, 3, 3, 0]]  # 2 m off and back again
    assert displacement_errors(distances(back, TRUE))[2].tolist() == [False]
    assert displacement_errors(distances(back * 1.01, TRUE))[2].tolist() == [True]


def test_the_best_of_the_most_probable_modes_counts():
    modes = np.stack([AHEAD[0], TRUE[0] + [0.2, 0, 0], AHEAD[0] * 2])[None]
    probability = np.array([[0.5, 0.2, 0.3]])
    mean, final, missed = best_of(modes, probability, TRUE, 1)
    assert (mean[0], final[0], missed[0]) == (1.75, 3.0, True)
    mean, final, missed = best_of(modes, probability, TRUE, 2)  # the third, twice as far, does not help
    assert (mean[0], final[0], missed[0]) == (1.75, 3.0, True)
    mean, final, missed = best_of(modes, probability, TRUE, 3)
    assert (mean[0], final[0], missed[0]) == (pytest.approx(0.2), pytest.approx(0.2), False)
    with pytest.raises(ValueError, match="k=4 must be from 1 to 3, the number of modes"):
        best_of(modes, probability, TRUE, 4)
