"""The Gaussian head against PyTorch's distributions."""

from __future__ import annotations

import pytest
import torch
from tests.unit.model.action_head.heads import random
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from tempovla.model.action_head.gaussian_action_head import GaussianMLPActionHead
from tempovla.objective.objective import reduce_term

FEATURES = random(6, 8)
ACTIONS = 0.6 * random(6, 4, 3, seed=1).clamp(-1.5, 1.5)
EVERYTHING = torch.ones(6, 4, dtype=torch.bool)


def head(**options) -> GaussianMLPActionHead:
    torch.manual_seed(0)
    return GaussianMLPActionHead(8, 3, hidden_dim=16, chunk_size=4, **options)


def reference(model: GaussianMLPActionHead) -> MixtureSameFamily:
    mixture = model.distribution(FEATURES)
    modes = Independent(Normal(mixture.mean, mixture.log_std.exp()), 1)
    return MixtureSameFamily(Categorical(logits=mixture.logits), modes)


def test_log_prob_and_entropy_are_those_of_a_normal():
    model = head()
    mean, log_std = model(FEATURES)
    normal = Independent(Normal(mean, log_std.exp()), 2)
    torch.testing.assert_close(model.log_prob(FEATURES, ACTIONS), normal.log_prob(ACTIONS))
    torch.testing.assert_close(model.entropy(FEATURES), normal.entropy())


def test_log_prob_of_a_mixture_is_that_of_torch():
    model = head(num_modes=3)
    torch.testing.assert_close(model.log_prob(FEATURES, ACTIONS), reference(model).log_prob(ACTIONS.flatten(1)))


def test_squashed_log_prob_is_that_of_a_tanh_transform():
    model = head(squash=True)
    mean, log_std = model(FEATURES)
    squashed = Independent(TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform()), 2)
    torch.testing.assert_close(model.log_prob(FEATURES, ACTIONS), squashed.log_prob(ACTIONS), rtol=1e-4, atol=1e-4)


def test_squashed_actions_lie_within_one_and_those_at_the_limit_have_a_finite_likelihood():
    model = head(squash=True)
    assert model.sample(1000 * FEATURES).abs().max() <= 1.0
    actions = torch.ones_like(ACTIONS).requires_grad_()
    log_prob = model.log_prob(FEATURES, actions)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_the_loss_is_the_negative_log_likelihood_by_valid_entry():
    for model in (head(), head(num_modes=3), head(squash=True)):
        valid = torch.tensor([4, 3, 2, 1, 0, 4])[:, None] > torch.arange(4)
        term = model.loss_terms(FEATURES, ACTIONS, valid)["action_loss"]
        expected = -model.log_prob(FEATURES, ACTIONS, valid).sum() / (valid.sum() * 3)
        torch.testing.assert_close(reduce_term("action_loss", term), expected)


def test_the_likelihood_of_some_entries_is_that_of_their_marginal():
    model = head(num_modes=3)
    valid = EVERYTHING[..., None] & torch.tensor([True, False, True])
    mixture = model.distribution(FEATURES)
    kept = valid[0].flatten()
    modes = Independent(Normal(mixture.mean[..., kept], mixture.log_std[..., kept].exp()), 1)
    marginal = MixtureSameFamily(Categorical(logits=mixture.logits), modes)
    expected = marginal.log_prob(ACTIONS.flatten(1)[:, kept])
    torch.testing.assert_close(model.log_prob(FEATURES, ACTIONS, valid), expected)


def test_samples_have_the_mean_and_variance_of_the_distribution():
    model = head(num_modes=3)
    with torch.no_grad():
        samples = model.sample(FEATURES[:1].expand(20_000, 8), torch.arange(20_000)).flatten(1)
        wanted = reference(model)
    torch.testing.assert_close(samples.mean(dim=0), wanted.mean[0], rtol=0, atol=0.04)
    torch.testing.assert_close(samples.var(dim=0), wanted.variance[0], rtol=0.05, atol=0)


def test_samples_carry_gradient_to_mean_and_standard_deviation():
    model = head()
    model.sample(FEATURES, torch.arange(6)).square().sum().backward()
    assert model.mean_head.weight.grad.any()
    assert model.log_std_head.weight.grad.any()


def test_with_std_scale_0_the_answer_is_the_mean_of_a_mode():
    model = head(std_scale=0.0)
    assert torch.equal(model.sample(FEATURES), model(FEATURES)[0])
    model = head(num_modes=3, std_scale=0.0)
    means = model.distribution(FEATURES).mean
    distance = (model.sample(FEATURES).flatten(1)[:, None] - means).abs().amax(dim=2).amin(dim=1)
    assert distance.max() == 0.0


def test_log_std_is_clamped():
    model = head()
    torch.nn.init.constant_(model.log_std_head.bias, 50.0)
    assert (model(FEATURES)[1] == 2.0).all()
    torch.nn.init.constant_(model.log_std_head.bias, -50.0)
    assert (model(FEATURES)[1] == -20.0).all()
    model = head(min_log_std=-5.0)
    torch.nn.init.constant_(model.log_std_head.bias, -50.0)
    assert (model(FEATURES)[1] == -5.0).all()


def test_the_guides_shapes_with_one_step():
    model = GaussianMLPActionHead(8, 3)
    mean, log_std = model(FEATURES)
    assert mean.shape == log_std.shape == (6, 3)
    assert model.sample(FEATURES).shape == (6, 3)
    drawn = model.sample(FEATURES, torch.arange(6))
    assert torch.equal(drawn, model.sample_with(FEATURES, model.random_numbers(torch.arange(6)))[:, 0])
    assert torch.equal(model.log_prob(FEATURES, drawn), model.log_prob(FEATURES, drawn[:, None]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="entropy with num_modes=3, squash=False has no closed form; use the mean"):
        head(num_modes=3).entropy(FEATURES)
    with pytest.raises(ValueError, match="entropy with num_modes=1, squash=True"):
        head(squash=True).entropy(FEATURES)
    with pytest.raises(ValueError, match=r"min_log_std=3\.0 must be below 2\.0"):
        head(min_log_std=3.0)
