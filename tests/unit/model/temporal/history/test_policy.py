"""A policy around another, which acts upon what it saw and did."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tempovla.model.action_head.registry import build_action_head
from tempovla.model.temporal import HistoryAwarePolicy

SIZES = {"history_dim": 8, "history_length": 3, "num_heads": 2, "num_layers": 1}


def policy(base: nn.Module | None = None) -> HistoryAwarePolicy:
    torch.manual_seed(0)
    return HistoryAwarePolicy(base or nn.Linear(4, 2), obs_dim=4, action_dim=2, **SIZES).eval()


def transitions(steps: int, rows: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(rows, 4, generator=generator), torch.randn(rows, 2, generator=generator)) for _ in range(steps)
    ]


def test_the_defaults_are_those_of_the_page():
    config = HistoryAwarePolicy(nn.Linear(768, 7), obs_dim=768, action_dim=7).history_encoder.config
    assert (config.hidden_dim, config.output_dim, config.history_length) == (512, 512, 16)


@torch.no_grad()
def test_the_action_depends_on_what_was_remembered_until_it_is_reset():
    model, observation = policy(), torch.randn(4)
    fresh = model(observation)
    assert fresh.shape == (2,)
    model.update_history(torch.randn(4), torch.randn(2))
    assert (model(observation) - fresh).abs().max() > 1e-4
    model.reset_history()
    assert torch.equal(model(observation), fresh)


@torch.no_grad()
def test_the_object_acts_like_the_function_with_an_explicit_history():
    model, observation = policy(), torch.randn(2, 4)
    history = model.initial_state(2)
    for index, (state, action) in enumerate(transitions(6)):
        rows = torch.tensor([index == 3, index == 4])
        history = history.reset(rows)
        model.reset_history(rows)
        assert torch.equal(model(observation), model(observation, history))
        history = history.push(state, action)
        model.update_history(state, action)
    assert torch.equal(model(observation), model(observation, history))


@torch.no_grad()
def test_clients_with_histories_of_their_own_do_not_notice_each_other():
    model, observation = policy(), torch.randn(1, 4)
    alone, together = model.initial_state(1), [model.initial_state(1), model.initial_state(1)]
    for (state, action), (other, other_action) in zip(transitions(4, 1), transitions(8, 1)[4:], strict=True):
        alone = alone.push(state, action)
        together = [together[0].push(state, action), together[1].push(other, other_action)]
        model(observation, together[1])
        assert torch.equal(model(observation, together[0]), model(observation, alone))


def test_gradients_reach_the_history_encoder():
    model = policy()
    for state, action in transitions(3):
        model.update_history(state, action)
    model(torch.randn(2, 4)).square().sum().backward()
    nulls = {"null", "null_cross"}
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert name.split(".")[-1] in nulls or weight.grad.abs().sum() > 0, name


@torch.no_grad()
@pytest.mark.parametrize(("steps", "shape"), [(1, (2, 2)), (5, (2, 5, 2))])
def test_an_action_head_samples_and_a_chunk_of_one_step_is_an_action(steps, shape):
    model = policy(build_action_head("mlp", 4, 2, steps, {"hidden_dim": 8}))
    observation = torch.randn(2, 4)
    assert model(observation).shape == shape
    assert model(observation[0]).shape == shape[1:]


@torch.no_grad()
def test_a_heads_noise_follows_from_the_seeds_of_the_rows():
    model = policy(build_action_head("gaussian", 4, 2, 1, {"hidden_dim": 8}))
    observation, history = torch.randn(2, 4), policy().initial_state(2)
    actions = [model(observation, history, torch.tensor(seeds)) for seeds in ([1, 2], [1, 2], [3, 2])]
    assert torch.equal(actions[0], actions[1])
    assert not torch.equal(actions[0][0], actions[2][0])
    assert torch.equal(actions[0][1], actions[2][1])


def test_one_action_of_one_dimension_keeps_its_dimension():
    for head in ("mlp", "gaussian"):
        model = HistoryAwarePolicy(
            build_action_head(head, 4, 1, 1, {"hidden_dim": 8}), obs_dim=4, action_dim=1, **SIZES
        )
        assert model.eval()(torch.randn(2, 4), model.initial_state(2)).shape == (2, 1)


def test_a_head_learns_from_the_features_with_history():
    torch.manual_seed(0)
    head = build_action_head("mlp", 4, 2, 1, {"hidden_dim": 32, "loss": "mse"})
    model = HistoryAwarePolicy(head, 4, 2, history_dim=16, history_length=2, num_heads=2, num_layers=1, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(100):  # the right action is the last one, which only the history tells
        history = model.initial_state(32).push(torch.zeros(32, 4), torch.randn(32, 2))
        last = history.actions[:, -1:]
        features = model.features(torch.zeros(32, 4), history)
        term = model.base_policy.loss_terms(features, last, torch.ones(32, 1, dtype=torch.bool))["action_loss"]
        loss = (term.prediction - term.target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[:5]) / 5 > 0.7
    assert sum(losses[-5:]) / 5 < 0.2


def test_observations_of_other_rows_than_the_history_are_refused():
    model = policy()
    model.update_history(*transitions(1)[0])
    with pytest.raises(ValueError, match=r"observation \(3, 4\) must be \(2, 4\).*reset_history"):
        model(torch.zeros(3, 4))


@torch.no_grad()
def test_training_on_a_sequence_sees_what_acting_step_by_step_sees():
    model, steps = policy(), transitions(7)
    states, actions = (torch.stack([pair[index] for pair in steps], dim=1) for index in (0, 1))
    valid = torch.arange(7) >= torch.tensor([0, 2])[:, None]
    states[1, :2], actions[1, :2] = torch.nan, torch.nan
    features, after = model.sequence_features(states, actions, model.initial_state(2), valid)
    assert features.isfinite().all()
    for row, first in ((0, 0), (1, 2)):
        history = model.initial_state(1)
        for index in range(first, 7):
            expected = model.features(states[row : row + 1, index], history)
            torch.testing.assert_close(features[row : row + 1, index], expected, rtol=1e-5, atol=1e-5)
            history = history.push(states[row : row + 1, index], actions[row : row + 1, index])
        assert torch.equal(after.states[row : row + 1], history.states)


def test_features_of_a_sequence_do_not_know_the_action_to_learn():
    model, steps = policy(), transitions(5)
    states, actions = (torch.stack([pair[index] for pair in steps], dim=1) for index in (0, 1))
    actions.requires_grad_()
    model.sequence_features(states, actions, model.initial_state(2))[0][:, 3].sum().backward()
    assert (actions.grad.abs().amax(dim=(0, 2)) > 0).tolist() == [True, True, True, False, False]
