"""The world model without a decoder: what it imagines, and what it expects of it."""

from __future__ import annotations

import copy

import pytest
import torch

from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.dynamics_model import LatentDynamics
from tempovla.model.world_model.protocol import WorldModel

SMALL = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 12, "num_values": 3, "bins": 11}


def world(discount: float = 0.9, **options) -> LatentDynamics:
    """A small model all of whose weights have learned something."""
    torch.manual_seed(0)
    made = LatentDynamics(LatentDynamicsConfig(**{**SMALL, "symlog_range": 2.0, **options}), 2, 3, discount=discount)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.eval()


def actions(rows: int = 2, candidates: int = 5, horizon: int = 3) -> torch.Tensor:
    return torch.rand(rows, candidates, horizon, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def start(rows: int = 2) -> torch.Tensor:
    return torch.rand(rows, 16, generator=torch.Generator().manual_seed(2))


def test_it_is_a_world_model():
    assert isinstance(world(), WorldModel)


def test_imagining_is_stepping():
    model, z, chosen = world(), start(), actions()
    states = model.imagine(z, chosen)
    for row in range(2):
        for candidate in range(5):
            state = z[row]
            for step in range(3):
                state = model.step(state, chosen[row, candidate, step])
                torch.testing.assert_close(states[row, candidate, step], state, rtol=1e-5, atol=1e-5)
    sums = states.unflatten(-1, (-1, 4)).sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@torch.no_grad()
@pytest.mark.parametrize("predicts_end", [False, True])
def test_the_return_is_that_of_a_float64_loop(predicts_end):
    model, z, chosen = world(predicts_end=predicts_end), start(), actions()
    if model.end is not None:  # half of the candidates then come to an end
        model.end.linears[-1].bias -= model.end(model.imagine(z, chosen)).amax(dim=2).quantile(0.5)
    exact = copy.deepcopy(model).double()

    def number(logits: torch.Tensor) -> torch.Tensor:
        mean = logits.softmax(dim=-1) @ torch.linspace(-2, 2, 11, dtype=torch.float64)
        return torch.sign(mean) * torch.expm1(mean.abs())

    expected = torch.zeros(2, 5, dtype=torch.float64)
    ended = 0
    for row in range(2):
        for candidate in range(5):
            state, total, over = z[row].double(), 0.0, False
            for step in range(3):
                action = chosen[row, candidate, step].double()
                reward = number(exact.reward(torch.cat([state, action])))
                total += 0.0 if over else float(0.9**step * reward)
                state = exact.step(state, action)
                if exact.end is not None:
                    over = over or bool(exact.end(state)[0] > 0)
            mean = exact.actor(state)[:2].tanh()
            value = number(exact.values(torch.cat([state, mean])[None])[:, 0]).mean()
            total += 0.0 if over else float(0.9**3 * value)
            ended += over
            expected[row, candidate] = total
    if predicts_end:
        assert 0 < ended < 10
    torch.testing.assert_close(model.predict_return(z, chosen).double(), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_distance_from_the_policy_counts_against_an_action_like_a_cost():
    model, z, chosen = world(), start(), actions()
    states = torch.cat([z[:, None, None].expand(-1, 5, 1, -1), model.imagine(z, chosen)[:, :, :-1]], dim=2)
    apart = (chosen - model.policy_mean(states)).square().sum(dim=-1)
    expected = model.predict_return(z, chosen) - 7.0 * (apart * 0.9 ** torch.arange(3)).sum(dim=-1)
    torch.testing.assert_close(model.returns_from(z, torch.tensor(7.0))(chosen), expected, rtol=1e-4, atol=1e-3)


def test_rewards_are_those_of_the_states_before_them():
    model, z, chosen = world(), start(), actions()
    rewards = model.predict_rewards(z, chosen, model.imagine(z, chosen))
    first = model.two_hot.decode(model.reward(torch.cat([z[:, None].expand(-1, 5, -1), chosen[:, :, 0]], dim=-1)))
    torch.testing.assert_close(rewards[:, :, 0], first, rtol=1e-5, atol=1e-5)


def test_the_policy_in_imagination_takes_what_it_would_take():
    model, z = world(), start()
    noise = torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(3))
    taken = model.policy_rollouts(z, noise)
    states = model.imagine(z, taken)
    torch.testing.assert_close(taken[:, :, 0], model.policy_sample(z[:, None].expand(-1, 4, -1), noise[:, :, 0]))
    torch.testing.assert_close(
        taken[:, :, 2], model.policy_sample(states[:, :, 1], noise[:, :, 2]), rtol=1e-4, atol=1e-5
    )
    assert taken.abs().max() <= 1.0


def test_slow_values_follow_and_are_never_trained():
    model = world(value_tau=0.25)
    before = [each.clone() for each in model.slow_values.parameters()]
    aims = [each.detach().clone() for each in model.values.parameters()]
    model.after_step()
    for old, aim, new in zip(before, aims, model.slow_values.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * aim)
        assert not new.requires_grad
    assert not model.train().slow_values.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 18}, "dynamics.latent_dim=18 is no multiple of group_dim=4"),
        ({"hidden_dim": 0}, "dynamics.hidden_dim=0 must be at least 1"),
        ({"bins": 1}, "dynamics.bins=1 within"),
        ({"dropout": 1.0}, "dynamics.dropout=1.0 must be"),
        ({"log_std_min": 3.0}, "dynamics.log_std_min=3.0 must be less than log_std_max=2.0"),
        ({"value_tau": 0.0}, "dynamics.value_tau=0.0 must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LatentDynamicsConfig(**{**SMALL, **options})
