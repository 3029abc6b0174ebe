"""Numbers as distributions over bins: the way there and back, and the loss."""

from __future__ import annotations

import math

import pytest
import torch

from tempovla.model.world_model.two_hot import TwoHot, symexp, symlog


def test_symexp_undoes_symlog_at_every_scale():
    values = torch.tensor([-1e4, -3.0, -1e-3, 0.0, 1e-3, 3.0, 1e4])
    torch.testing.assert_close(symexp(symlog(values)), values, rtol=1e-5, atol=1e-7)
    assert float(symlog(torch.tensor(math.e - 1))) == pytest.approx(1.0)


def test_a_number_is_spread_over_the_two_bins_around_it():
    bins = TwoHot(5, -2.0, 2.0)  # centres -2, -1, 0, 1, 2 in symlog space
    value = symexp(torch.tensor([0.25, -2.0, 2.0, 1.0]))
    expected = [[0, 0, 0.75, 0.25, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    torch.testing.assert_close(bins.encode(value), torch.tensor(expected), rtol=0, atol=1e-6)


def test_numbers_beyond_the_bins_count_as_the_last():
    bins = TwoHot(5, -2.0, 2.0)
    assert bins.encode(torch.tensor([1e9, -1e9])).argmax(dim=-1).tolist() == [4, 0]


def test_what_is_no_number_gives_a_loss_that_is_none():
    loss = TwoHot(11).loss(torch.zeros(3, 11), torch.tensor([1.0, math.nan, math.inf]))
    assert torch.isnan(loss).tolist() == [False, True, False]


def test_what_is_encoded_is_decoded():
    bins = TwoHot()
    values = torch.tensor([0.3, -7.0, 120.0, 0.0])
    torch.testing.assert_close(bins.decode(bins.encode(values).clamp(min=1e-30).log()), values, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_two_bins():
    bins = TwoHot(5, -2.0, 2.0)
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    value = symexp(torch.tensor([0.25, -1.5, 1.9]))
    share = logits.double().softmax(dim=-1).log()
    expected = [
        -(0.75 * share[0, 2] + 0.25 * share[0, 3]),
        -(0.5 * share[1, 0] + 0.5 * share[1, 1]),
        -(0.1 * share[2, 3] + 0.9 * share[2, 4]),
    ]
    torch.testing.assert_close(bins.loss(logits, value).double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("bins", "low", "high"), [(1, -1.0, 1.0), (5, 1.0, 1.0), (5, 2.0, -2.0)])
def test_bins_that_cannot_hold_numbers_are_refused(bins, low, high):
    with pytest.raises(ValueError, match="give at least 2, from a lower to a higher number"):
        TwoHot(bins, low, high)
