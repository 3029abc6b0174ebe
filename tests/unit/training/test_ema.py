"""The average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tempovla.training.ema import WeightEma


def test_average_moves_by_the_warmed_up_decay():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    ema = WeightEma(layer, decay=0.5)
    expected = 1.0
    for step in range(1, 30):
        nn.init.constant_(layer.weight, float(step))
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_applied_weights_are_taken_back_even_after_an_error():
    layer = nn.Linear(2, 2)
    ema = WeightEma(layer, decay=0.9)
    average = layer.weight.detach().clone()
    nn.init.zeros_(layer.weight)

    def fail_within() -> None:
        with ema.applied():
            assert torch.equal(layer.weight, average)
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert torch.equal(layer.weight, torch.zeros(2, 2))


def test_frozen_parameters_are_not_averaged():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert set(WeightEma(layer, decay=0.9).average) == {"weight"}
