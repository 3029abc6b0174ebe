from __future__ import annotations

import torch

from tempovla.model.layers.film import FiLM


def test_at_first_it_changes_nothing():
    film, features = FiLM(3, 5), torch.randn(4, 5)
    assert torch.equal(film(features, torch.randn(4, 3)), features)


def test_the_condition_scales_and_shifts():
    film, features = FiLM(3, 2), torch.tensor([[1.0, -2.0]])
    with torch.no_grad():
        film.layers[-1].bias.copy_(torch.tensor([0.5, -1.0, 3.0, 4.0]))
    assert film(features, torch.zeros(1, 3)).tolist() == [[4.5, 4.0]]


def test_conditions_learn_to_differ():
    torch.manual_seed(0)
    film, condition = FiLM(2, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    features, target = torch.ones(2, 1), torch.tensor([[2.0], [-1.0]])
    optimizer = torch.optim.Adam(film.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (film(features, condition) - target).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(film(features, condition), target, atol=0.05, rtol=0)
