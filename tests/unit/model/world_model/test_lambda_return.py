"""Returns that look ahead over all lengths."""

from __future__ import annotations

import pytest
import torch

from tempovla.model.world_model.lambda_return import lambda_return

REWARDS, DISCOUNTS = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.8, 1.0])
VALUES = torch.tensor([9.0, 10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [1 + 0.5 * 10, 2 + 0.8 * 20, 3 + 30]),
        (1.0, [1 + 0.5 * (2 + 0.8 * 33), 2 + 0.8 * 33, 33]),
        # 33; 2 + 0.8 (0.5 * 20 + 0.5 * 33) = 23.2; 1 + 0.5 (0.5 * 10 + 0.5 * 23.2) = 9.3
        (0.5, [9.3, 23.2, 33.0]),
    ],
)
def test_it_is_what_a_hand_computes(share, expected):
    torch.testing.assert_close(lambda_return(REWARDS, DISCOUNTS, VALUES, share), torch.tensor(expected))


def test_nothing_behind_an_end_counts():
    found = lambda_return(REWARDS, torch.tensor([0.5, 0.0, 1.0]), VALUES, 1.0)
    torch.testing.assert_close(found, torch.tensor([2.0, 2.0, 33.0]))


def test_rows_are_apart():
    rewards = torch.stack([REWARDS, 2 * REWARDS])
    found = lambda_return(rewards, DISCOUNTS.expand(2, -1), VALUES.expand(2, -1), 0.95)
    torch.testing.assert_close(found[0], lambda_return(REWARDS, DISCOUNTS, VALUES, 0.95))
    torch.testing.assert_close(found[1], lambda_return(2 * REWARDS, DISCOUNTS, VALUES, 0.95))
