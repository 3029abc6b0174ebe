"""Variance, covariance and standard deviation against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tempovla.objective.regularizer import covariance, std, std_within, variance


def test_variance_is_the_mean_hinge_on_the_standard_deviation():
    z = np.random.default_rng(0).normal(size=(16, 5)) * np.array([0.1, 0.5, 1.0, 2.0, 0.9])
    expected = np.maximum(0.0, 1.0 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean()
    assert variance(torch.tensor(z, dtype=torch.float32)).item() == pytest.approx(expected, rel=1e-5)


def test_variance_of_collapsed_rows_is_one_and_has_a_finite_gradient():
    z = torch.ones(8, 3, requires_grad=True)
    value = variance(z)
    value.backward()
    assert value.item() == pytest.approx(0.99, abs=1e-6)
    assert torch.isfinite(z.grad).all()


def test_covariance_is_the_sum_of_squared_off_diagonals_over_the_dimensions():
    z = np.random.default_rng(1).normal(size=(16, 4)) @ np.random.default_rng(2).normal(size=(4, 4))
    matrix = np.cov(z, rowvar=False)
    expected = (matrix**2).sum() - (np.diag(matrix) ** 2).sum()
    assert covariance(torch.tensor(z, dtype=torch.float32)).item() == pytest.approx(expected / 4, rel=1e-5)


@pytest.mark.parametrize("regularizer", [variance, covariance])
@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_give_zero_with_zero_gradient(regularizer, rows):
    z = torch.ones(rows, 3, requires_grad=True)
    value = regularizer(z)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(z.grad, torch.zeros(rows, 3))


def test_std_is_the_mean_over_the_dimensions_and_0_where_there_is_nothing_to_compare():
    z = np.random.default_rng(0).normal(size=(16, 5)) * np.array([0.1, 0.5, 1.0, 2.0, 0.9])
    assert std(torch.tensor(z, dtype=torch.float32)).item() == pytest.approx(z.std(axis=0, ddof=1).mean(), rel=1e-5)
    assert std(torch.ones(8, 3)).item() == 0.0
    assert std(torch.ones(1, 3)).item() == 0.0


GROUPS = torch.tensor([[1, 2], [3, 0], [1, 2], [1, 3], [3, 0], [3, 0], [1, 3]])
VALID = torch.tensor([True, True, True, True, True, True, False])


def test_std_within_is_pooled_over_groups_of_which_there_are_at_least_two_valid_rows():
    z = np.random.default_rng(0).normal(size=(7, 4)) * 0.1 + np.array([0, 5, 0, 9, 5, 5, 9])[:, None]
    squares = [(rows - rows.mean(axis=0)) ** 2 for rows in (z[[0, 2]], z[[1, 4, 5]])]  # the fourth row is alone
    expected = np.sqrt(sum(part.sum(axis=0) for part in squares) / 3).mean()
    poisoned = torch.tensor(z, dtype=torch.float32)
    poisoned[6] = torch.nan
    value, freedom = std_within(poisoned, GROUPS, VALID)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert freedom.item() == pytest.approx(3.0)


@pytest.mark.parametrize("group", [[[1], [2], [3]], [[1], [1], [2]]])
def test_std_within_rests_on_nothing_where_every_row_is_alone(group):
    value, freedom = std_within(torch.randn(3, 2), torch.tensor(group), torch.tensor([True, False, True]))
    assert (value.item(), freedom.item()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("regularizer", "formula"),
    [
        (std, lambda z: z.std(axis=0, ddof=1).mean()),
        (variance, lambda z: np.maximum(0.0, 1.0 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean()),
        (covariance, lambda z: (np.cov(z, rowvar=False) ** 2)[~np.eye(5, dtype=bool)].sum() / 5),
    ],
)
@pytest.mark.parametrize("rows", [[0, 1], [3, 4, 9], [*range(12)]])
def test_rows_that_are_not_valid_count_for_nothing(regularizer, formula, rows):
    z = np.random.default_rng(3).normal(size=(12, 5)) * np.array([0.1, 0.5, 1.0, 2.0, 0.9]) + 3.0
    valid = torch.zeros(12, dtype=torch.bool)
    valid[rows] = True
    poisoned = torch.tensor(z, dtype=torch.float32)
    poisoned[~valid] = torch.nan
    poisoned.requires_grad_()
    value = regularizer(poisoned, valid)
    value.backward()
    assert value.item() == pytest.approx(formula(z[rows]), rel=1e-4)
    assert torch.isfinite(poisoned.grad).all()
    assert not poisoned.grad[~valid].any()
