"""Stochastic states: draws, their gradients, and divergences against a computation in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tempovla.model.world_model.latents import CategoricalLatent, GaussianLatent, latent_of
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.model.world_model.rssm_loss import balanced_kl

CATEGORICAL, GAUSSIAN = CategoricalLatent(3, 4, 0.01), GaussianLatent(3, 0.1)


def raws(latent, count: int = 2, scale: float = 2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(5, latent.raw_dim, generator=generator) for _ in range(count)]


def shares64(raw: torch.Tensor, unimix: float = 0.01) -> np.ndarray:
    exact = raw.double().numpy().reshape(-1, 3, 4)
    weight = np.exp(exact - exact.max(axis=-1, keepdims=True))
    return (1 - unimix) * weight / weight.sum(axis=-1, keepdims=True) + unimix / 4


def test_no_class_is_less_likely_than_its_share_of_the_uniform_distribution():
    raw = torch.zeros(1, 12)
    raw[:, ::4] = 1000.0
    shares = CATEGORICAL.shares(raw)
    expected = torch.tensor([0.9925, 0.0025, 0.0025, 0.0025])
    torch.testing.assert_close(shares[0, 0], expected)
    assert torch.isfinite(CATEGORICAL.kl(raw, -raw)).all()


def test_a_divergence_without_a_share_of_the_uniform_distribution_is_finite_and_has_a_gradient():
    plain = replace(CATEGORICAL, unimix=0.0)
    raw = torch.zeros(1, 12)
    raw[:, ::4] = 200.0
    given = raw.clone().requires_grad_()
    divergence = plain.kl(given, -raw)
    assert divergence.item() == pytest.approx(3 * (200.0 + math.log(3.0)), rel=1e-6)
    divergence.sum().backward()
    assert torch.isfinite(given.grad).all()
    mild = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    other = mild.flip(0)
    one, two = shares64(mild, 0.0), shares64(other, 0.0)
    expected = (one * np.log(one / two)).sum(axis=(-2, -1))
    torch.testing.assert_close(plain.kl(mild, other), torch.tensor(expected, dtype=torch.float32))


def test_a_draw_is_the_class_in_whose_part_the_noise_lies():
    raw = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(3)[None]
    latent = CategoricalLatent(3, 4, 0.0)
    drawn = latent.sample(raw, torch.tensor([[0.05, 0.29, 0.999]])).view(3, 4)
    assert drawn.argmax(dim=-1).tolist() == [0, 1, 3]
    assert drawn.sum(dim=-1).tolist() == [1.0, 1.0, 1.0]
    assert latent.mode(raw).view(3, 4).argmax(dim=-1).tolist() == [3, 3, 3]


def test_classes_are_drawn_as_often_as_their_probabilities_say():
    raw = raws(CATEGORICAL)[0][:1].expand(20000, -1)
    noise = CATEGORICAL.noise(torch.arange(20000))
    often = CATEGORICAL.sample(raw, noise).mean(dim=0).view(3, 4)
    np.testing.assert_allclose(often.numpy(), shares64(raw[:1])[0], atol=0.012)


def test_the_gradient_of_a_draw_is_that_of_its_probabilities():
    raw = raws(CATEGORICAL)[0].requires_grad_()
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    (CATEGORICAL.sample(raw, CATEGORICAL.noise(torch.arange(5))) * weight).sum().backward()
    straight = raw.grad.clone()
    raw.grad = None
    (CATEGORICAL.shares(raw).flatten(1) * weight).sum().backward()
    torch.testing.assert_close(straight, raw.grad)
    assert straight.abs().max() > 0.01


def test_the_gradient_of_a_gaussian_draw_goes_to_its_mean_and_spread():
    raw = torch.zeros(1, 6, requires_grad=True)
    noise = torch.tensor([[1.0, -2.0, 0.0]])
    GAUSSIAN.sample(raw, noise).sum().backward()
    torch.testing.assert_close(raw.grad[0], torch.tensor([1.0, 1.0, 1.0, 0.5, -1.0, 0.0]))


def test_the_divergence_of_categorical_states_is_that_of_float64():
    first, second = raws(CATEGORICAL)
    one, other = shares64(first), shares64(second)
    expected = (one * (np.log(one) - np.log(other))).sum(axis=(1, 2))
    np.testing.assert_allclose(CATEGORICAL.kl(first, second).numpy(), expected, rtol=1e-5)
    assert expected.min() > 0.5


def test_the_divergence_of_gaussian_states_is_that_of_float64():
    first, second = raws(GAUSSIAN)
    parts = []
    for raw in (first, second):
        exact = raw.double().numpy()
        parts.append((exact[:, :3], np.log1p(np.exp(exact[:, 3:])) + 0.1))
    (mean, std), (other_mean, other_std) = parts
    each = np.log(other_std / std) + (std**2 + (mean - other_mean) ** 2) / (2 * other_std**2) - 0.5
    np.testing.assert_allclose(GAUSSIAN.kl(first, second).numpy(), each.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("latent", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_a_divergence_below_the_free_nats_teaches_nothing(latent):
    first, second = raws(latent)
    for share, learns in ((0.001, False), (1.0, True)):
        posterior = (second + share * (first - second)).detach().requires_grad_()
        prior = second.detach().requires_grad_()
        dynamics, representation = balanced_kl(latent, posterior, prior, 1.0)
        assert bool((dynamics == 1.0).all()) is not learns
        (dynamics + representation).sum().backward()
        assert bool(prior.grad.abs().sum() > 0) is learns
        assert bool(posterior.grad.abs().sum() > 0) is learns


@pytest.mark.parametrize("latent", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_the_prior_learns_from_one_divergence_and_the_posterior_from_the_other(latent):
    posterior, prior = (raw.requires_grad_() for raw in raws(latent))
    dynamics, representation = balanced_kl(latent, posterior, prior, 0.0)
    torch.testing.assert_close(dynamics, representation)
    for loss, learns in ((dynamics, prior), (representation, posterior)):
        posterior.grad = prior.grad = None
        loss.sum().backward()
        assert [each.grad is None for each in (posterior, prior)] == [each is not learns for each in (posterior, prior)]


def test_a_config_names_the_kind():
    assert latent_of(RSSMConfig(variables=3, classes=4)) == CATEGORICAL
    assert latent_of(RSSMConfig(variables=3, latent="gaussian")) == GAUSSIAN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": "normal"}, "rssm.latent='normal' is unknown; choose from categorical, gaussian"),
        ({"reward_loss": "l1"}, "rssm.reward_loss='l1' is unknown"),
        ({"classes": 1}, "rssm.classes=1 must be at least 2"),
        ({"state_dim": 10, "blocks": 4}, "rssm.state_dim=10 is no multiple of blocks=4"),
        ({"unimix": 1.0}, "rssm.unimix=1.0 must be at least 0, and less than 1"),
        ({"free_nats": -1.0}, "rssm.free_nats=-1.0 must be finite, and not negative"),
        ({"min_std": 0.0}, "rssm.min_std=0.0 must be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        RSSMConfig(**options)
