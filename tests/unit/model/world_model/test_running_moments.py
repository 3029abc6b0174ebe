"""Running moments: those of all that counted, equal shares first, and what they make of numbers."""

from __future__ import annotations

import pytest
import torch

from tempovla.model.world_model.running_moments import LEAST_STD, LIMIT, RunningMoments


def batches(count: int, rows: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, rows, 3, generator=generator) * torch.tensor([0.02, 1.0, 30.0]) + torch.tensor(
        [0.7, 0, 9]
    )


def test_the_first_updates_count_the_same_and_give_the_moments_of_all():
    moments, given = RunningMoments(3, tau=0.01), batches(5)
    for batch in given:
        moments.add(batch, torch.ones(40).bool())
        moments.update()
    every = given.flatten(0, 1).double()
    torch.testing.assert_close(moments.mean, every.mean(dim=0).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moments.variance, every.var(dim=0, correction=0).float(), rtol=1e-3, atol=1e-5)
    normal = moments(given.flatten(0, 1))
    torch.testing.assert_close(normal.std(dim=0), torch.ones(3), rtol=0.02, atol=0.0)
    assert normal.mean(dim=0).abs().max() < 0.02


def test_a_small_spread_around_a_large_number_is_found():
    moments, given = RunningMoments(3), batches(400) * torch.tensor([1.0, 0.01, 1.0]) + 1000.0
    for batch in given:
        moments.add(batch, torch.ones(40).bool())
        moments.update()
    every = given.flatten(0, 1).double()
    torch.testing.assert_close(moments.variance.double(), every.var(dim=0, correction=0), rtol=0.05, atol=0.0)


def test_later_ones_follow_slowly():
    moments = RunningMoments(1, tau=0.25)
    for value in (0.0, 0.0, 0.0, 0.0, 8.0):
        moments.add(torch.full((4, 1), value), torch.ones(4).bool())
        moments.update()
    assert moments.mean.item() == pytest.approx(0.25 * 8.0)
    assert moments.variance.item() == pytest.approx(0.25 * 0.75 * 64.0)


def test_what_is_not_valid_does_not_count_and_without_any_that_is_nothing_moves():
    one, other = RunningMoments(3), RunningMoments(3)
    valid = torch.arange(40) < 25
    first, second = batches(2)
    for moments, batch in ((one, first), (other, torch.where(valid[:, None], first, torch.nan))):
        moments.add(batch, valid)
        moments.update()
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.variance, other.variance)
    before = [buffer.clone() for buffer in one.buffers()]
    one.update()
    one.add(second, torch.zeros(40).bool())
    one.update()
    assert all(torch.equal(old, new) for old, new in zip(before, one.buffers(), strict=True))


def test_a_dimension_that_never_varied_is_neither_magnified_nor_far_out():
    moments = RunningMoments(1)
    moments.add(torch.full((8, 1), 3.0), torch.ones(8).bool())
    moments.update()
    found = moments(torch.tensor([[3.0], [3.0 + LEAST_STD], [4.0]]))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.0, 1.0, LIMIT]), rtol=1e-3, atol=1e-3)
