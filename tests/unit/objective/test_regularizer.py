"""Variance, covariance and standard deviation against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tempovla.objective.regularizer import covariance, std, variance


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
