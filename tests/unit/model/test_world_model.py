"""The EMA target, and predicting the future of a representation."""

import itertools
import math

import pytest
import torch
from torch import nn

from tempovla.model.world_model.ema_target import EmaTarget, ema_momentum
from tempovla.model.world_model.temporal_predictor import InverseDynamics, TemporalPredictor


def test_momentum_rises_along_a_cosine_from_its_start_to_one():
    values = [ema_momentum(0.996, step, 100, "cosine") for step in range(101)]
    assert values[0] == 0.996
    assert values[50] == pytest.approx(0.998)
    assert values[25] == pytest.approx(1.0 - 0.004 * (math.sqrt(0.5) + 1.0) / 2.0)
    assert values[100] == 1.0
    assert all(a < b for a, b in itertools.pairwise(values))
    assert ema_momentum(0.996, 150, 100, "cosine") == 1.0


def test_constant_momentum_stays_and_other_schedules_are_refused():
    assert {ema_momentum(0.9, step, 10, "constant") for step in range(20)} == {0.9}
    with pytest.raises(ValueError, match="ema_momentum_schedule='linear' is unknown; choose constant or cosine"):
        ema_momentum(0.9, 1, 10, "linear")


def test_the_target_starts_as_a_copy_and_moves_by_one_minus_momentum():
    online = nn.Linear(2, 2)
    target = EmaTarget(online)
    assert torch.equal(target.module.weight, online.weight)
    before = target.module.weight.clone()
    with torch.no_grad():
        online.weight += 1.0
    target.update(online, momentum=0.75)
    torch.testing.assert_close(target.module.weight, before + 0.25)
    target.update(online, momentum=1.0)
    torch.testing.assert_close(target.module.weight, before + 0.25)
    target.update(online, momentum=0.0)
    torch.testing.assert_close(target.module.weight, online.weight)


def test_the_target_gives_and_takes_no_gradient():
    online = nn.Linear(2, 2)
    target = EmaTarget(online)
    x = torch.ones(1, 2, requires_grad=True)
    assert not target(x).requires_grad
    assert not any(weight.requires_grad for weight in target.parameters())
    (online(x) - target(x)).square().sum().backward()
    assert online.weight.grad is not None
    assert all(weight.grad is None for weight in target.parameters())
    target.update(online, 0.5)
    assert online.weight.requires_grad


def test_buffers_are_copied_as_they_are():
    online = nn.BatchNorm1d(2)
    target = EmaTarget(online)
    online(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    target.update(online, momentum=0.9)
    assert torch.equal(target.module.running_mean, online.running_mean)
    assert int(target.module.num_batches_tracked) == 1


def test_the_predictor_adds_a_change_to_the_present():
    predictor = TemporalPredictor(state_dim=6, action_dim=3, hidden_dim=4)
    z, action = torch.randn(5, 6), torch.randn(5, 3)
    assert predictor(z, action).shape == (5, 6)
    nn.init.zeros_(predictor.delta[-1].weight)
    nn.init.zeros_(predictor.delta[-1].bias)
    assert torch.equal(predictor(z, action), z)


def test_the_predictor_depends_on_state_and_actions():
    torch.manual_seed(0)
    predictor = TemporalPredictor(state_dim=6, action_dim=3, hidden_dim=4)
    z, action = torch.randn(5, 6), torch.randn(5, 3)
    change = predictor(z, action) - z
    assert ((predictor(z, action + 1.0) - z) - change).abs().amax(dim=1).min() > 1e-4
    assert ((predictor(z + 1.0, action) - (z + 1.0)) - change).abs().amax(dim=1).min() > 1e-4


def test_the_predictor_has_the_references_layers():
    """z (256) and a (7) to 512 each; joined 1024 to 512 to 512 to 256."""
    predictor = TemporalPredictor(state_dim=256, action_dim=7, hidden_dim=512)
    layers = [m for m in predictor.modules() if isinstance(m, nn.Linear)]
    sizes = [(256, 512), (7, 512), (1024, 512), (512, 512), (512, 256)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == sizes
    assert sum(weight.numel() for weight in predictor.parameters()) == sum(i * o + o for i, o in sizes) == 1_054_464


def test_inverse_dynamics_looks_at_both_states():
    torch.manual_seed(0)
    inverse = InverseDynamics(state_dim=6, action_dim=3, hidden_dim=4)
    z, z_next = torch.randn(5, 6), torch.randn(5, 6)
    found = inverse(z, z_next)
    assert found.shape == (5, 3)
    assert not torch.allclose(found, inverse(z + 1.0, z_next))
    assert not torch.allclose(found, inverse(z, z_next + 1.0))
