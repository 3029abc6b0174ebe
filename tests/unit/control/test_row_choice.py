"""Rows and seeds in all the forms in which users have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tempovla.control.row_choice import checked_seeds, chosen_rows, row_seeds

MASK = [False, True, True]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, [1]),
        (np.int64(0), [0]),
        ([2, 0], [2, 0]),
        ((1,), [1]),
        ({2, 1}, [1, 2]),
        (range(2), [0, 1]),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor([1]), [1]),
        (MASK, [1, 2]),
        (np.array(MASK), [1, 2]),
        (torch.tensor(MASK), [1, 2]),
        ([], []),
        (np.flatnonzero([0, 0]), []),
    ],
)
def test_rows_are_numbers_or_a_mask(rows, expected):
    assert chosen_rows(rows, 3) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (-1, r"^reset\(rows=-1\): there is no row -1 in a batch of 3$"),
        ([0, 3], r"^reset\(rows=\[0, 3\]\): there is no row 3 in a batch of 3$"),
        ([True], "a mask has one True or False for each of the 3 rows"),
        ([0.0], "no whole numbers; give a row, a list of rows, or one True or False a row"),
        ("0", "no whole numbers"),
        ([[0]], "no whole numbers"),
        ({"row": 0}, "no whole numbers"),
    ],
)
def test_other_rows_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        chosen_rows(rows, 3)
    with pytest.raises(ValueError, match="no episode has begun; call reset"):
        chosen_rows([0], 0)


def test_seeds_are_one_or_one_a_row():
    for seed in (7, np.int64(7), torch.tensor(7)):
        assert row_seeds(checked_seeds(seed), 3) == [7, 8, 9]
    for seeds in ([4, 2], (4, 2), np.array([4, 2]), torch.tensor([4, 2])):
        assert row_seeds(checked_seeds(seeds), 2) == [4, 2]
    assert checked_seeds(-1) == -1
    with pytest.raises(ValueError, match="2 seeds were given for 3 rows; give one seed, or one a row"):
        row_seeds((4, 2), 3)


@pytest.mark.parametrize("seed", ["3", 1.5, None, [0.5], ["a"], True, [True, False], [[1]], object()])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=r"^seed=.* whole number.*; give a whole number, or one for each robot"):
        checked_seeds(seed)


def test_a_seed_of_too_many_bits_is_refused():
    with pytest.raises(ValueError, match="has more than 62 bits; give a smaller number"):
        checked_seeds(2**70)
    with pytest.raises(ValueError, match="has more than 62 bits"):
        checked_seeds([1, 2**62 + 1])
