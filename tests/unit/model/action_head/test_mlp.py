"""The regressing head."""

from __future__ import annotations

import pytest
import torch
from tests.unit.model.action_head.heads import random
from torch import nn

from tempovla.model.action_head.mlp_action_head import MLPActionHead
from tempovla.objective.objective import reduce_term


def test_the_guides_layers_and_shapes():
    head = MLPActionHead(8, 3)
    assert [type(layer) for layer in head.mlp] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert head.mlp[0].out_features == 256
    assert head(random(4, 8)).shape == (4, 3)
    assert head.sample(random(4, 8)).shape == (4, 1, 3)
    assert MLPActionHead(input_dim=8, action_dim=3, hidden_dim=16, chunk_size=5)(random(4, 8)).shape == (4, 5, 3)
    assert len(MLPActionHead(8, 3, num_layers=4).mlp) == 9


@pytest.mark.parametrize(("loss", "expected"), [("l1", 2.0), ("mse", 5.0)])
def test_the_loss_is_the_distance_chosen(loss, expected):
    head = MLPActionHead(8, 2, chunk_size=1, loss=loss)
    nn.init.zeros_(head.mlp[-1].weight)
    nn.init.zeros_(head.mlp[-1].bias)
    actions = torch.tensor([[[1.0, -3.0]], [[9.0, 9.0]]])
    term = head.loss_terms(random(2, 8), actions, torch.tensor([[True], [False]]))["action_loss"]
    assert reduce_term("action_loss", term).item() == pytest.approx(expected)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="MLPActionHead: loss='huber' is unknown; choose from l1, mse"):
        MLPActionHead(8, 3, loss="huber")
    with pytest.raises(ValueError, match="MLPActionHead: chunk_size=0 must be at least 1"):
        MLPActionHead(8, 3, chunk_size=0)
    with pytest.raises(ValueError, match="MLPActionHead: num_layers=0 must be at least 1"):
        MLPActionHead(8, 3, num_layers=0)
