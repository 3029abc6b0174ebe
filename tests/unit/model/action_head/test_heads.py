"""What holds for every action head: shapes, padding, and randomness from the rows' seeds."""

from __future__ import annotations

import math

import pytest
import torch
from tests.unit.model.action_head.heads import ACTION, ATTEND_TO_TOKENS, CASES, FEATURES, HORIZON, build, random

from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY, build_action_head
from tempovla.objective import Objective

SEEDS = torch.tensor([3, 1, 4, 15])
VALID = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [False] * 5, [True] + [False] * 4])

every_head = pytest.mark.parametrize("case", CASES)


@every_head
@pytest.mark.parametrize("shape", [(4, FEATURES), (4, 6, FEATURES)], ids=["feature", "tokens"])
def test_a_chunk_of_float32_actions_a_row(case, shape):
    chunk = build(case).sample(random(*shape), SEEDS)
    assert chunk.shape == (4, HORIZON, ACTION)
    assert chunk.dtype == torch.float32
    assert chunk.isfinite().all()


@every_head
def test_a_call_returns_the_chunk_that_is_sampled(case):
    head, features = build(case), random(4, 6, FEATURES)
    feature_valid = torch.tensor([True, True, True, True, False, False]).expand(4, 6)
    torch.manual_seed(5)
    chunk = head(features, feature_valid)
    torch.manual_seed(5)
    assert torch.equal(chunk, head.sample(features, feature_valid=feature_valid))


@pytest.mark.parametrize("name", ACTION_HEAD_REGISTRY)
def test_a_call_of_a_head_with_a_chunk_of_one_step_returns_that_step(name):
    assert build_action_head(name, FEATURES, ACTION, 1)(random(4, FEATURES)).shape == (4, ACTION)


def loss_and_gradients(case, actions, valid, features, **options):
    head = build(case)
    report = Objective()(head.loss_terms(features, actions, valid, SEEDS, **options))
    report.total.backward()
    return report, {name: weight.grad for name, weight in head.named_parameters() if weight.grad is not None}


def assert_same(first, second):
    assert first[0].total.item() == second[0].total.item()
    assert math.isfinite(first[0].total.item())
    for name, gradient in first[1].items():
        assert gradient.isfinite().all(), name
        assert torch.equal(gradient, second[1][name]), name


@every_head
@pytest.mark.parametrize("by_dimension", [False, True], ids=["steps", "dimensions"])
def test_actions_where_invalid_change_neither_loss_nor_gradient(case, by_dimension):
    valid = VALID[..., None] & torch.tensor([True, True, False]) if by_dimension else VALID
    full = valid if by_dimension else valid[..., None].expand(4, HORIZON, ACTION)
    actions = 0.5 * random(4, HORIZON, ACTION).clamp(-1, 1)
    results = [
        loss_and_gradients(case, torch.where(full, actions, poison), valid, random(4, FEATURES, seed=1))
        for poison in (0.3, math.nan, math.inf)
    ]
    assert results[0][0].terms["action_loss"] != 0
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


@every_head
def test_a_batch_with_nothing_valid_has_loss_zero(case):
    nothing = torch.zeros(4, HORIZON, dtype=torch.bool)
    actions = torch.full((4, HORIZON, ACTION), math.nan)
    report, gradients = loss_and_gradients(case, actions, nothing, random(4, FEATURES))
    assert report.total.item() == 0.0
    assert all(not gradient.any() for gradient in gradients.values())


@every_head
def test_feature_tokens_where_invalid_change_nothing(case):
    actions, tokens = 0.5 * random(4, HORIZON, ACTION).clamp(-1, 1), random(4, 6, FEATURES, seed=1)
    feature_valid = torch.tensor([[True] * 6, [True] * 2 + [False] * 4, [False] * 6, [False, True] * 3])
    poisoned = torch.where(feature_valid[..., None], tokens, math.nan)
    samples = [build(case).sample(x, SEEDS, feature_valid=feature_valid) for x in (tokens, poisoned)]
    assert samples[0].isfinite().all()
    assert torch.equal(*samples)
    results = [loss_and_gradients(case, actions, VALID, x, feature_valid=feature_valid) for x in (tokens, poisoned)]
    assert_same(results[1], results[0])


@every_head
def test_a_row_with_two_valid_tokens_is_as_if_it_had_no_others(case):
    tokens = random(1, 6, FEATURES)
    feature_valid = torch.tensor([[True, True] + [False] * 4])
    head = build(case)
    masked = head.sample(tokens, SEEDS[:1], feature_valid=feature_valid)
    torch.testing.assert_close(masked, head.sample(tokens[:, :2], SEEDS[:1]), rtol=1e-4, atol=1e-5)


@every_head
def test_heads_that_attend_tell_tokens_apart_and_the_others_see_their_mean(case):
    tokens = random(4, 6, FEATURES)
    head = build(case)
    mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    if case in ATTEND_TO_TOKENS:
        assert (head.sample(tokens, SEEDS) - head.sample(mean, SEEDS)).abs().max() > 1e-4
    else:
        torch.testing.assert_close(head.sample(tokens, SEEDS), head.sample(mean, SEEDS), rtol=1e-4, atol=1e-5)


@every_head
def test_a_sample_is_made_of_random_numbers_that_can_be_given(case):
    head, features = build(case), random(4, FEATURES)
    numbers = head.random_numbers(SEEDS)
    assert all(len(number) == 4 for number in numbers.values())
    assert torch.equal(head.sample_with(features, numbers), head.sample(features, SEEDS))
    if numbers:
        assert not torch.equal(
            head.sample_with(features, head.random_numbers(SEEDS + 100)), head.sample(features, SEEDS)
        )


@every_head
def test_a_sample_follows_from_the_rows_seed_whatever_the_batch(case):
    head, features = build(case), random(4, FEATURES)
    together = head.sample(features, SEEDS)
    assert torch.equal(head.sample(features, SEEDS), together)
    for row in range(4):
        alone = head.sample(features[row : row + 1], SEEDS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.sample(features.flip(0), SEEDS.flip(0)).flip(0), together, rtol=1e-4, atol=1e-5)


@every_head
def test_only_heads_that_draw_depend_on_the_seed(case):
    head, features = build(case), random(4, FEATURES)
    samples = [head.sample(features, seeds) for seeds in (SEEDS, SEEDS + 1)]
    assert torch.equal(*samples) == case.startswith(("mlp", "modes"))


@every_head
def test_a_generator_or_torchs_own_draws_the_seeds(case):
    head, features = build(case), random(4, FEATURES)
    drawn = head.sample(features, torch.Generator().manual_seed(5))
    assert torch.equal(drawn, head.sample(features, torch.Generator().manual_seed(5)))
    torch.manual_seed(5)
    assert torch.equal(drawn, head.sample(features))


@every_head
def test_the_loss_follows_from_the_rows_seeds(case):
    head, features, actions = build(case), random(4, FEATURES), 0.5 * random(4, HORIZON, ACTION, seed=1)
    state = torch.random.get_rng_state()
    losses = [Objective()(head.loss_terms(features, actions, VALID, SEEDS)).total.item() for _ in range(2)]
    other = Objective()(head.loss_terms(features, actions, VALID, SEEDS + 1)).total.item()
    assert losses[0] == losses[1]
    assert (other != losses[0]) == case.startswith(("diffusion", "flow", "transformer-noise"))
    assert torch.equal(torch.random.get_rng_state(), state)


@every_head
def test_every_weight_learns(case):
    _, gradients = loss_and_gradients(case, 0.5 * random(4, HORIZON, ACTION), VALID, random(4, 6, FEATURES))
    for name, gradient in gradients.items():
        assert gradient.any(), name
    assert set(gradients) == {name for name, _ in build(case).named_parameters()}


@every_head
def test_a_head_loads_the_weights_of_its_like(case):
    first, second = build(case), build(case)
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(0.01)
    second.load_state_dict(first.state_dict())
    features = random(4, FEATURES)
    assert torch.equal(second.sample(features, SEEDS), first.sample(features, SEEDS))


@every_head
def test_actions_and_features_of_another_shape_are_refused(case):
    head, features, actions = build(case), random(4, FEATURES), random(4, HORIZON, ACTION)
    with pytest.raises(ValueError, match=r"features \(4, 7\) must be \(B, 8\) or \(B, tokens, 8\)"):
        head.sample(random(4, 7), SEEDS)
    with pytest.raises(ValueError, match=r"actions \(4, 5, 2\) with valid \(4, 5\) must be \(B, 5, 3\)"):
        head.loss_terms(features, actions[..., :2], VALID)
    with pytest.raises(ValueError, match=r"with valid \(4,\) must be \(B, 5, 3\) with \(B, 5\) or \(B, 5, 3\)"):
        head.loss_terms(features, actions, VALID[:, 0])
    with pytest.raises(ValueError, match=r"feature_valid \(4, 2\) must be \(4, 6\)"):
        head.sample(random(4, 6, FEATURES), SEEDS, feature_valid=VALID[:, :2])


@every_head
def test_a_body_with_all_dimensions_is_no_special_case(case):
    own = torch.ones(4, ACTION, dtype=torch.bool)
    head, features = build(case), random(4, 6, FEATURES)
    assert torch.equal(head.sample_padded(features, own, SEEDS), head.sample(features, SEEDS))


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("flow", "diffusion"))])
def test_what_is_drawn_in_padding_changes_nothing_else(case):
    """Other output weights in the last dimension, as other bodies that have it leave behind."""
    own = torch.tensor([True, True, False]).expand(4, ACTION)
    head, features = build(case), random(4, 6, FEATURES)
    before = head.sample_padded(features, own, SEEDS)
    outputs = [weight for weight in head.parameters() if weight.shape[0] == ACTION]
    assert outputs
    with torch.no_grad():
        for weight in outputs:
            weight[-1] += 1.0
    after = head.sample_padded(features, own, SEEDS)
    assert torch.equal(after, before)
    assert not after[..., 2].any()
    assert head.sample(features, SEEDS)[..., 2].any()


@pytest.mark.parametrize("case", ["flow", "diffusion-unet"])
def test_the_network_sees_no_noise_in_padding_when_it_learns(case):
    valid = torch.ones(4, HORIZON, ACTION, dtype=torch.bool)
    valid[..., 2] = False
    head, seen = build(case), []
    network = head.network if case == "flow" else head.denoiser
    first = network.action_in if case == "flow" else network
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    head.loss_terms(random(4, FEATURES), random(4, HORIZON, ACTION), valid, SEEDS)
    assert seen[0][..., :2].all()
    assert not seen[0][..., 2].any()
