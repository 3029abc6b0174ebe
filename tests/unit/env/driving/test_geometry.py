"""Lines and rectangles in the plane."""

import math

import numpy as np

from tempovla.env.driving.geometry import beside, corners, distances_along, headings, overlaps, resampled, wrapped


def test_angles_are_wrapped_to_half_a_turn() -> None:
    assert wrapped(3 * math.pi / 2) == -math.pi / 2
    assert wrapped(-7.0) == -7.0 + 2 * math.pi
    assert wrapped(math.pi) == -math.pi


def test_a_resampled_line_keeps_its_ends_and_its_spacing() -> None:
    line = resampled(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]), 0.5)
    assert line[0].tolist() == [0.0, 0.0]
    assert line[-1].tolist() == [3.0, 4.0]
    np.testing.assert_allclose(distances_along(line), np.arange(15) * 0.5, atol=1e-9)


def test_left_of_a_line_is_left_of_its_direction() -> None:
    line = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    np.testing.assert_allclose(beside(line, 1.5)[:, 0], -1.5)
    np.testing.assert_allclose(headings(line), math.pi / 2)


def test_corners_run_counter_clockwise_from_the_front_left() -> None:
    found = corners(np.array([[1.0, 2.0, math.pi / 2, 4.0, 2.0]]))[0]
    np.testing.assert_allclose(found, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)


def test_rectangles_overlap_only_where_no_axis_separates_them() -> None:
    box = np.array([0.0, 0.0, 0.0, 4.0, 2.0])
    others = np.array(
        [
            [3.9, 0.0, 0.0, 4.0, 2.0],  # 10 cm deep in the front
            [4.1, 0.0, 0.0, 4.0, 2.0],
            [2.9, 1.9, math.pi / 4, 1.0, 1.0],  # its bounding circle touches, its corner does not
            [2.0, 1.0, math.pi / 4, 1.0, 1.0],
        ]
    )
    assert overlaps(box, others).tolist() == [True, False, False, True]
    assert overlaps(box, np.zeros((0, 5))).tolist() == []
