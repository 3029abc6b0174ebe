"""The masked mean against a loop over the entries, and its gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tempovla.objective.reduce import RunningMean, mask_out, masked_mean


def looped_mean(value: np.ndarray, valid: np.ndarray) -> float:
    total, count = 0.0, 0
    for prefix in np.ndindex(valid.shape):
        if valid[prefix]:
            for entry in np.asarray(value[prefix]).reshape(-1):
                total, count = total + float(entry), count + 1
    return total / count if count else 0.0


@pytest.mark.parametrize("prefix", [1, 2, 3])
def test_mean_equals_a_loop_over_the_valid_entries(prefix):
    generator = torch.Generator().manual_seed(prefix)
    value = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    valid = torch.rand(value.shape[:prefix], generator=generator) > 0.4
    assert masked_mean(value, valid).item() == pytest.approx(looped_mean(value.numpy(), valid.numpy()), abs=1e-12)


def test_every_valid_entry_weighs_the_same_however_they_are_spread_over_rows():
    value = torch.tensor([[1.0, 1.0, 1.0], [5.0, 100.0, 100.0]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    assert masked_mean(value, valid).item() == 2.0


def test_nan_and_infinity_where_invalid_leave_value_and_gradient_finite():
    value = torch.tensor([[1.0, math.nan], [3.0, math.inf]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, False]])
    mean = masked_mean(value, valid)
    mean.backward()
    assert mean.item() == 2.0
    assert torch.equal(value.grad, torch.tensor([[0.5, 0.0], [0.5, 0.0]]))


def test_nothing_valid_gives_zero_with_zero_gradient():
    value = torch.full((2, 3), math.nan, requires_grad=True)
    mean = masked_mean(value, torch.zeros(2, 3, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0.0
    assert torch.equal(value.grad, torch.zeros(2, 3))


def test_a_mask_that_is_not_bool_or_not_a_prefix_is_refused():
    with pytest.raises(ValueError, match="must be bool and a prefix"):
        mask_out(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="must be bool and a prefix"):
        mask_out(torch.zeros(2, 3), torch.ones(3, dtype=torch.bool))


def test_a_mean_over_batches_is_per_feature_that_of_all_their_valid_entries():
    value = torch.tensor([[[1.0, 2.0], [3.0, math.nan]], [[5.0, 0.0], [math.inf, 7.0]], [[9.0, 1.0], [0.0, 0.0]]])
    valid = torch.tensor([[True, False], [True, False], [False, False]])
    running = RunningMean()
    for rows in (slice(0, 1), slice(1, 3)):
        running.add(value[rows], valid[rows])
    assert running.count == 2
    assert running.mean.tolist() == [3.0, 1.0]
    assert running.mean.dtype == torch.float64
    hits = RunningMean()
    hits.add(torch.tensor([True, False, True]), torch.tensor([True, True, False]))
    assert hits.mean.item() == 0.5


def test_a_mean_over_batches_with_nothing_valid_is_0():
    running = RunningMean()
    running.add(torch.ones(2, 3), torch.zeros(2, dtype=torch.bool))
    assert running.mean.tolist() == [0.0, 0.0, 0.0]
