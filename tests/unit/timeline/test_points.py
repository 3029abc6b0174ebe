"""Sets of points of varying number as arrays of one shape."""

import numpy as np

from tempovla.timeline.points import pad_points, stack_points


def test_points_are_padded_with_rows_of_nan_or_cut():
    points = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(pad_points(points, 2), [[0, 1], [2, 3]])
    padded = pad_points(points, 4)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded[:3], points)
    assert np.isnan(padded[3]).all()


def test_an_empty_cloud_is_all_absent():
    assert np.isnan(pad_points(np.zeros((0, 4)), 3)).all()


def test_sets_are_stacked_at_the_largest_number():
    stacked = stack_points([np.ones((1, 2)), np.ones((3, 2))])
    assert stacked.shape == (2, 3, 2)
    assert np.isnan(stacked[0, 1:]).all()
    assert not np.isnan(stacked[1]).any()
