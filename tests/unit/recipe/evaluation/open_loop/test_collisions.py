"""Rectangles that overlap, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.recipe.evaluation.open_loop.collisions import Footprint, corners_of, overlap, touches

SQUARE = np.array([0.0, 0.0, 0.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([1.9, 0, 0, 2, 2], True),
        ([2.0, 0, 0, 2, 2], False),  # they touch at an edge alone
        ([0, 0, 0, 0.1, 0.1], True),  # one inside the other
        ([2.2, 0, np.pi / 4, 2, 2], True),  # a corner reaches in: 2.2 - 2**0.5 < 1
        ([2.5, 0, np.pi / 4, 2, 2], False),
        ([1.75, 1.75, np.pi / 4, 2, 2], False),  # apart along the other's side alone
        ([1.65, 1.65, np.pi / 4, 2, 2], True),
    ],
)
def test_rectangles_overlap_or_not(other, expected):
    first, second = SQUARE[None], np.array([other], float)
    assert overlap(first, second).tolist() == [[expected]]
    assert overlap(second, first).tolist() == [[expected]]


def test_overlap_is_the_same_in_every_frame():
    rng = np.random.default_rng(1)
    rectangles = np.concatenate([rng.uniform(-3, 3, (40, 3)), rng.uniform(0.5, 3, (40, 2))], axis=1)
    angle, shift = 0.7, np.array([5.0, -2.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = rectangles.copy()
    moved[:, :2] = rectangles[:, :2] @ turn + shift
    moved[:, 2] += angle
    found = overlap(rectangles, rectangles)
    assert 0.2 < found.mean() < 0.8
    assert np.array_equal(found, overlap(moved, moved))
    assert np.array_equal(found, found.T)


def test_corners_go_round_the_middle():
    corners = corners_of(np.array([1.0, 2.0, np.pi / 2, 4.0, 2.0]))
    np.testing.assert_allclose(corners, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)


def test_the_car_lies_ahead_of_its_rear_axle():
    car = Footprint(length=4.0, width=2.0, middle=1.5)
    np.testing.assert_allclose(car.rectangles(np.array([10.0, 0.0, np.pi / 2])), [10, 1.5, np.pi / 2, 4, 2])
    poses = np.array([[0.0, 0, 0], [2.0, 0, 0], [0.0, 0, np.pi]])
    boxes = np.array([[4.5, 0.0, 0.0, 1.0, 1.0]])  # begins 4 m ahead; the car's front is 3.5 m ahead of its axle
    assert touches(poses, boxes, car).tolist() == [False, True, False]
    assert touches(poses, np.zeros((0, 5)), car).tolist() == [False] * 3
