"""The flow matching head; the flow's own tests are in `test_flow_matching.py`."""

from __future__ import annotations

import pytest
import torch
from tests.unit.model.action_head.heads import random

from tempovla.model.action_head.flow_matching import FlowMatchingPolicy
from tempovla.model.action_head.flow_matching_action_head import FlowMatchingActionHead
from tempovla.timeline.noise import row_normal, row_uniform

SMALL = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2}


def test_it_trains_and_samples_as_statevlas_policy_does():
    torch.manual_seed(0)
    head = FlowMatchingActionHead(8, 3, horizon=5, num_steps=4, **SMALL)
    assert isinstance(head.network, FlowMatchingPolicy)
    torch.nn.init.normal_(head.network.velocity_out.weight)
    z, actions, seeds = random(4, 8), random(4, 5, 3), torch.arange(4)
    noise = row_normal(seeds, (5, 3), stream=1)
    predicted, target = head.network.training_pair(actions, noise, row_uniform(seeds, stream=2), z)
    term = head.loss_terms(z, actions, torch.ones(4, 5, dtype=torch.bool), seeds)["action_loss"]
    assert torch.equal(term.prediction, predicted)
    assert torch.equal(term.target, target)
    assert torch.equal(head.sample(z, seeds), head.network.sample(z, row_normal(seeds, (5, 3)), 4))


@pytest.mark.parametrize("network", ["transformer", "cross_attention"])
def test_every_draw_of_a_row_has_its_own_noise_and_the_rows_features(network):
    torch.manual_seed(0)
    head = FlowMatchingActionHead(8, 3, horizon=5, draws=3, network=network, **SMALL)
    actions, valid = random(2, 5, 3), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    term = head.loss_terms(random(2, 8), actions, valid, torch.arange(2))["action_loss"]
    assert term.prediction.shape == term.target.shape == (6, 5, 3)
    assert torch.equal(term.valid, valid.repeat_interleave(3, 0)[..., None].expand(6, 5, 3))
    clean = torch.where(valid[..., None], actions, 0.0).repeat_interleave(3, dim=0)
    noise = term.target + clean
    assert len({tuple(row.flatten().tolist()) for row in noise.round(decimals=4)}) == 6


def test_the_features_are_read_once_a_chunk():
    head = FlowMatchingActionHead(8, 3, horizon=5, num_steps=7, network="cross_attention", **SMALL)
    calls = []
    head.network.decoder.features.register_forward_hook(lambda *args: calls.append(1))
    head.sample(random(2, 6, 8))
    assert len(calls) == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="network='unet' is unknown; choose from transformer, mamba, cross_attention"):
        FlowMatchingActionHead(8, 3, network="unet")
    with pytest.raises(ValueError, match="FlowMatchingActionHead: num_steps=0 must be at least 1"):
        FlowMatchingActionHead(8, 3, num_steps=0)
