import math

import numpy as np
import torch

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_boxes import covered_cells

GRID = BEVGridConfig(x_min=-8.0, x_max=8.0, y_min=-8.0, y_max=8.0, resolution=2.0)
"""Eight by eight cells: row 0 has its centre 7 m ahead, column 0 7 m to the left."""


def cells_of(*boxes: tuple[float, ...], valid: tuple[bool, ...] | None = None) -> set[tuple[int, int]]:
    """Rows and columns of the cells that boxes x, y, yaw, length and width cover."""
    there = torch.tensor([valid or (True,) * len(boxes)])
    return {tuple(cell) for cell in covered_cells(GRID, torch.tensor([boxes]), there)[0].nonzero().tolist()}


def test_a_box_covers_the_cells_whose_centres_lie_in_it():
    assert cells_of((5.0, 1.0, 0.0, 4.4, 1.8)) == {(0, 3), (1, 3), (2, 3)}
    assert cells_of((5.0, 1.0, math.pi / 2, 4.4, 1.8)) == {(1, 2), (1, 3), (1, 4)}


def test_a_box_turns_to_the_left_with_its_heading():
    """A long, narrow box at 45 degrees covers the cells from behind on the right to ahead on the left."""
    assert cells_of((1.0, 1.0, math.pi / 4, 7.0, 1.2)) == {(2, 2), (3, 3), (4, 4)}
    assert cells_of((1.0, 1.0, -math.pi / 4, 7.0, 1.2)) == {(2, 4), (3, 3), (4, 2)}
    assert cells_of((1.0, 1.0, 5 * math.pi / 4, 7.0, 1.2)) == {(2, 2), (3, 3), (4, 4)}


def test_a_box_smaller_than_a_cell_covers_the_one_that_it_stands_in():
    assert cells_of((2.3, -3.9, 0.4, 0.5, 0.5)) == {(2, 5)}


def test_boxes_that_are_off_the_grid_or_absent_cover_nothing():
    assert cells_of((20.0, 0.0, 0.0, 4.0, 2.0)) == set()
    assert cells_of((8.5, 1.0, 0.0, 4.0, 1.8)) == {(0, 3)}  # its rear end reaches in
    nothing = (math.nan,) * 5
    assert cells_of(nothing, (5.0, 1.0, 0.0, 0.1, 0.1), (math.inf,) * 5, valid=(False, True, False)) == {(1, 3)}
    empty = torch.zeros(2, 0, 5)
    assert not covered_cells(GRID, empty, torch.zeros(2, 0, dtype=torch.bool)).any()


def test_many_boxes_are_drawn_as_one_by_one():
    """Each row's cells are those of its own boxes, of which each is tested by its half planes."""
    draw = np.random.default_rng(0)
    boxes = np.concatenate([draw.uniform(-9, 9, (3, 7, 2)), draw.uniform(-7, 7, (3, 7, 1))], axis=2)
    boxes = np.concatenate([boxes, draw.uniform(0.3, 6, (3, 7, 2))], axis=2)
    found = covered_cells(GRID, torch.from_numpy(boxes).float(), torch.ones(3, 7, dtype=torch.bool)).numpy()
    expected = np.zeros((3, 8, 8), bool)
    for row, number in np.ndindex(3, 7):
        x, y, yaw, length, width = boxes[row, number]
        for r, c in np.ndindex(8, 8):
            to = np.array([7 - 2 * r - x, 7 - 2 * c - y])
            ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
            expected[row, r, c] |= abs(to @ ahead) <= length / 2 and abs(to @ left) <= width / 2
        r, c = math.floor((8 - x) / 2), math.floor((8 - y) / 2)
        if 0 <= r < 8 and 0 <= c < 8:
            expected[row, r, c] = True
    np.testing.assert_array_equal(found, expected)
