"""The truncated normal distribution of actions, against scipy's."""

from __future__ import annotations

import numpy as np
import torch

from tempovla.model.world_model.bounded_actor import BoundedActor, TruncatedNormal
from tempovla.timeline.noise import row_uniform

MEAN, STD = torch.tensor([[-1.0, -0.4, 0.0, 0.9]]), torch.tensor([[0.1, 0.5, 1.0, 0.3]])


def exact(function) -> np.ndarray:
    """By integration in float64 over [-1, 1]: the density's share of each cell, and the middles of the cells."""
    cells = np.linspace(-1.0, 1.0, 200_001)
    middles = (cells[1:] + cells[:-1]) / 2
    found = []
    for mean, std in zip(MEAN[0].tolist(), STD[0].tolist(), strict=True):
        weight = np.exp(-0.5 * ((middles - mean) / std) ** 2)
        density = weight / (weight.sum() * (cells[1] - cells[0]))
        found.append(function(middles, density, cells[1] - cells[0]))
    return np.array(found)


def test_density_and_entropy_are_those_of_an_integral():
    policy = TruncatedNormal(MEAN, STD)
    entropy = exact(lambda x, density, width: -(density * np.log(density.clip(1e-300)) * width).sum())
    assert abs(float(policy.entropy()) - entropy.sum()) < 1e-4
    at = exact(lambda x, density, width: np.interp(0.3, x, density))
    action = torch.full((1, 4), 0.3)
    assert abs(float(policy.log_prob(action)) - np.log(at.clip(1e-300)).sum()) < 1e-2  # 90 nats down, in one dimension


def test_draws_stay_within_bounds_and_have_the_right_mean():
    policy = TruncatedNormal(MEAN.expand(20000, -1), STD.expand(20000, -1))
    drawn = policy.sample(row_uniform(torch.arange(20000), (4,)))
    assert drawn.abs().max() <= 1.0
    expected = exact(lambda x, density, width: (x * density * width).sum())
    np.testing.assert_allclose(drawn.mean(dim=0).numpy(), expected, atol=0.012)


def test_the_least_and_greatest_draws_are_bounds_and_no_infinities():
    policy = TruncatedNormal(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.1, 0.1]]))
    for draw in (0.0, 1.0 - 2.0**-24):
        drawn = policy.sample(torch.full((1, 2), draw))
        assert torch.isfinite(drawn).all()
        assert torch.isfinite(policy.log_prob(drawn)).all()


def test_gradients_are_finite_at_the_bounds_and_point_to_actions_that_paid():
    actor = BoundedActor(3, 2, hidden_dim=8, num_layers=1)
    features = torch.randn(5, 3)
    assert actor(features).mean.abs().max() == 0.0
    loss = -actor(features).log_prob(torch.ones(5, 2)).sum()
    loss.backward()
    assert all(torch.isfinite(each.grad).all() for each in actor.parameters())
    with torch.no_grad():
        for each in actor.parameters():
            each -= 0.1 * each.grad
    assert (actor(features).mean > 0).all()
