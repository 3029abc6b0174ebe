"""The autoregressive head: causality, its cache, and what its tokens are."""

from __future__ import annotations

import math

import pytest
import torch
from tests.unit.model.action_head.heads import random
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from tempovla.model.action_head.action_tokens import BinTokens, MixtureTokens
from tempovla.model.action_head.transformer_action_head import TransformerActionHead
from tempovla.objective.objective import reduce_term
from tempovla.timeline.noise import row_normal, row_uniform

BINS = {"num_bins": 16}
every_kind = pytest.mark.parametrize("options", [{}, BINS], ids=["mixture", "bins"])


def build(**options) -> TransformerActionHead:
    torch.manual_seed(0)
    return TransformerActionHead(8, 3, num_layers=2, action_horizon=5, hidden_dim=16, num_heads=2, **options).eval()


@every_kind
def test_sampling_with_the_cache_equals_running_all_tokens_again_for_each(options):
    head, tokens, seeds = build(**options), random(4, 6, 8), torch.arange(4)
    feature_valid = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) > 0.4
    uniform = row_uniform(seeds, (head.num_tokens,), stream=1)
    normal = row_normal(seeds, (head.num_tokens, 3))
    actions = torch.zeros(4, 5, 3)
    for index in range(head.num_tokens):
        hidden = head.teacher_forced(tokens, actions, feature_valid)[:, index : index + 1]
        token = head.tokens.draw(hidden, uniform[:, index : index + 1], normal[:, index : index + 1])
        drawn = head.tokens.encode(actions)
        drawn[:, index] = token[:, 0]
        actions = head.tokens.decode(drawn)
    cached = head.sample(tokens, seeds, feature_valid=feature_valid)
    torch.testing.assert_close(cached, actions, rtol=1e-4, atol=1e-5)


@every_kind
def test_no_token_sees_itself_or_a_later_one(options):
    head, actions = build(**options), 0.5 * random(2, 5, 3)
    base = head.teacher_forced(random(2, 8), actions)
    per_step = head.num_tokens // 5
    for step in range(5):
        changed = actions.clone()
        changed[:, step] = -changed[:, step] + 0.2
        difference = (head.teacher_forced(random(2, 8), changed) - base).abs().amax(dim=(0, 2))
        assert (difference[: step * per_step + 1] == 0).all()
        assert (difference[(step + 1) * per_step :] > 0).all()


@every_kind
def test_the_loss_of_a_step_does_not_depend_on_later_actions(options):
    head, actions, valid = (
        build(**options),
        0.5 * random(2, 5, 3),
        torch.tensor([[True, True, False, False, False]] * 2),
    )
    other = actions.clone()
    other[:, 2:] = 0.9
    losses = [
        reduce_term("loss", head.loss_terms(random(2, 8), chunk, valid)["action_loss"]) for chunk in (actions, other)
    ]
    assert losses[0] == losses[1]


def test_a_steps_loss_is_its_likelihood_under_the_mixture():
    tokens = MixtureTokens(16, 3, num_modes=4, std_scale=1.0, min_log_std=-5.0)
    hidden, actions = random(2, 5, 16), random(2, 5, 3, seed=1)
    modes = tokens.out(hidden).unflatten(-1, (4, 7))
    components = Independent(Normal(modes[..., 1:4], modes[..., 4:].clamp(-5, 2).exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=modes[..., 0]), components).log_prob(actions)
    term = tokens.loss_term(hidden, actions, torch.ones(2, 5, 3, dtype=torch.bool))
    torch.testing.assert_close(reduce_term("loss", term), -expected.mean() / 3)


def test_the_least_log_std_bounds_the_density():
    tokens = build(min_log_std=-1.5).tokens
    hidden = -100.0 * tokens.out.weight.sum(dim=0).expand(1, 5, 16)
    mean = tokens._mixture(hidden).mean[..., 0, :]
    density = tokens._mixture(hidden).log_prob(mean, torch.ones_like(mean, dtype=torch.bool))
    assert tokens._mixture(hidden).log_std.min() >= -1.5
    assert density.max() <= 3 * (1.5 - 0.5 * math.log(2 * math.pi)) + 1e-5


@every_kind
def test_input_noise_disturbs_what_later_steps_read_by_the_rows_seed_and_nothing_else(options):
    features, actions = random(2, 8), 0.5 * random(2, 5, 3)
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, 3:] = False
    disturbed, plain = build(input_noise=0.5, **options), build(**options)

    def predictions(head, seeds):
        return head.loss_terms(features, actions, valid, torch.tensor(seeds))["action_loss"].prediction

    def by_row(head, seeds):
        return [row.flatten() for row in predictions(head, seeds)]

    one, other = by_row(disturbed, [1, 2]), by_row(disturbed, [1, 3])
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])
    assert torch.equal(predictions(plain, [1, 2]), predictions(plain, [1, 3]))
    assert torch.equal(disturbed.sample(features, torch.tensor([1, 2])), plain.sample(features, torch.tensor([1, 2])))


def test_actions_come_back_from_bins_to_within_half_a_bin():
    tokens = BinTokens(16, 3, num_bins=64, bin_range=2.0)
    actions = torch.linspace(-2, 2, 90).view(2, 15, 3)
    bins = tokens.encode(actions)
    assert (bins.shape, bins.dtype) == ((2, 45), torch.int64)
    assert (int(bins.min()), int(bins.max())) == (0, 63)
    assert (tokens.decode(bins) - actions).abs().max() <= 2.0 / 64 + 1e-6
    outside = tokens.decode(tokens.encode(torch.tensor([[[-9.0, 0.0, 9.0]]])))
    torch.testing.assert_close(outside, torch.tensor([[[-2.0 + 1 / 32, 1 / 32, 2.0 - 1 / 32]]]))


def test_bins_are_drawn_as_often_as_their_probability_says():
    tokens = BinTokens(3, 1, num_bins=3, bin_range=1.0)
    torch.nn.init.eye_(tokens.out.weight)
    torch.nn.init.zeros_(tokens.out.bias)
    probability = torch.tensor([0.2, 0.5, 0.3])
    uniform = row_uniform(torch.arange(20_000), (1,))
    drawn = tokens.draw(probability.log().expand(20_000, 1, 3), uniform, torch.zeros(20_000, 1, 1))
    torch.testing.assert_close(torch.bincount(drawn[:, 0]) / 20_000, probability, rtol=0, atol=0.015)


def test_the_bins_loss_is_the_cross_entropy_of_every_valid_dimension():
    head = build(**BINS)
    torch.nn.init.zeros_(head.tokens.out.weight)
    torch.nn.init.zeros_(head.tokens.out.bias)
    valid = torch.ones(2, 5, 3, dtype=torch.bool)
    valid[..., 2] = False
    term = head.loss_terms(random(2, 8), 0.5 * random(2, 5, 3), valid)["action_loss"]
    assert (term.kind, term.prediction.shape, term.target.shape) == ("cross_entropy", (2, 5, 3, 16), (2, 5, 3))
    assert reduce_term("loss", term).item() == pytest.approx(math.log(16))


def test_the_guides_call():
    head = TransformerActionHead(input_dim=8, action_dim=3, max_seq_len=100, num_layers=4)
    assert len(head.decoder.blocks) == 4
    assert head.sample(random(2, 8)).shape == (2, 16, 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a chunk of 5 steps is 5 tokens; set max_seq_len=4 to at least that"):
        build(max_seq_len=4)
    with pytest.raises(ValueError, match="a chunk of 5 steps is 15 tokens; set max_seq_len=14 to at least that"):
        build(max_seq_len=14, **BINS)
    with pytest.raises(ValueError, match="hidden_dim=16 is not divisible by num_heads=3"):
        TransformerActionHead(8, 3, hidden_dim=16, num_heads=3)
    with pytest.raises(ValueError, match="num_bins=0 must be at least 1"):
        build(num_bins=0)
    with pytest.raises(ValueError, match=r"min_log_std=2\.5 must be below 2\.0"):
        build(min_log_std=2.5)
    with pytest.raises(ValueError, match=r"input_noise=-0\.1 must not be negative"):
        build(input_noise=-0.1)
