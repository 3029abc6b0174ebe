"""The agent that learns in imagination: its returns, what learns from what, and what it remembers when it acts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.lambda_return import lambda_return
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.model.world_model.rssm_loss import Sequences
from tempovla.objective import Objective
from tempovla.objective.objective import reduce_term
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track, laws, training_windows
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY, TERMINATED_KEY
from tempovla.timeline.noise import row_uniform

BODY = Embodiment("toy", 3, 2, 10.0)
ROWS, LENGTH, HORIZON = 4, 5, 3
SHAPES = {STATE_KEY: (3,), ACTION_KEY: (2,), REWARD_KEY: (1,), TERMINATED_KEY: (1,)}
SIZES = {"state_dim": 8, "hidden_dim": 12, "variables": 4, "classes": 5, "num_layers": 1, "bins": 11, "channels": 1}
WORLD_TERMS = ("state_loss", "reward_loss", "end_loss", "dynamics_loss", "representation_loss")


def policy_of(latent: str = "categorical", plans: bool | None = None, **options: Any) -> WorldModelPolicy:
    """A small policy whose last layers have learned something."""
    rssm = RSSMConfig(latent=latent, symlog_range=2.0, **SIZES)
    fields = {"sequence_length": LENGTH, "horizon": HORIZON, "hidden_dim": 10, "num_layers": 1, **options}
    planner = PlannerConfig(horizon=2, num_samples=16, num_elites=4, iterations=2, num_policy_samples=4)
    seen = {"robot_state_dim": 3, "action_dim": 2, "discount": 0.9, "planner": planner, "plans": plans}
    torch.manual_seed(0)
    made = WorldModelPolicy(WorldModelConfig(algorithm="dreamer", dreamer=DreamerConfig(rssm=rssm, **fields), **seen))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def sample_of(policy: WorldModelPolicy) -> TimelineSample:
    return laws.random_sample(training_windows(policy), SHAPES, rows=ROWS)


def context_of(state: torch.Tensor, action: torch.Tensor | None = None, first: bool = True) -> Context:
    rows = len(state)
    past = {} if action is None else {ACTION_KEY: Track.of(action[:, None], (-1,))}
    now = {STATE_KEY: Track.of(state[:, None], (0,))}
    return Context(past, now, (Task("", BODY),) * rows, torch.full((rows,), first))


def moved(policy: WorldModelPolicy, *names: str) -> set[str]:
    """Which parts get a gradient from these terms."""
    policy.zero_grad(set_to_none=True)
    terms = policy(sample_of(policy))
    sum(reduce_term(name, terms[name]) for name in names).backward()
    return {
        ".".join(name.split(".")[1 : 3 if name.startswith("agent.world") else 2])
        for name, each in policy.named_parameters()
        if each.grad is not None and each.grad.any()
    }


def test_a_sample_holds_one_observation_more_than_actions():
    windows = {window.key: window.offsets for window in policy_of().training_windows()}
    steps = tuple(range(LENGTH))
    assert windows == {STATE_KEY: (*steps, LENGTH), ACTION_KEY: steps, REWARD_KEY: steps, TERMINATED_KEY: steps}
    assert {window.key: window.offsets for window in policy_of().windows()} == {STATE_KEY: (0,), ACTION_KEY: (-1, 0)}


def test_actor_critic_and_world_learn_from_their_own_losses_alone():
    policy = policy_of().train()
    assert moved(policy, "actor_loss") == {"actor"}
    assert moved(policy, "critic_loss", "slow_critic_loss") == {"critic"}
    parts = {"encoder", "core", "prior", "posterior", "decoder", "reward_head", "continue_head"}
    assert moved(policy, *WORLD_TERMS) == {f"world.{part}" for part in parts}
    assert moved(policy, "reward_loss") == {f"world.{part}" for part in ("encoder", "core", "posterior", "reward_head")}


@torch.no_grad()
def test_actor_and_critic_learn_from_lambda_returns_of_what_is_imagined():
    policy = policy_of(return_lambda=0.7, entropy_weight=0.01)
    agent, sample = policy.agent, sample_of(policy)
    world = agent.world
    agent.scale.value.fill_(2.0)
    sequences = Sequences.of(sample, world.encoder)
    noise = world.latent.noise(sample.seed, (LENGTH + 1,), 0)
    states = world.observe(sequences.values, sequences.seen, sequences.actions, sequences.first, noise).states
    draws = row_uniform(sample.seed, (LENGTH + 1, HORIZON, 2), stream=2)
    noise = world.latent.noise(sample.seed, (LENGTH + 1, HORIZON), 1)
    total = {"actor_loss": 0.0, "critic_loss": 0.0, "slow_critic_loss": 0.0}
    count = 0
    for row in range(ROWS):
        for step in range(LENGTH + 1):
            if sequences.ended[row, step]:
                continue
            state = map_tensors(lambda x, place=(row, step): x[place][None], states)
            path, actions = [state.features], []
            for ahead in range(HORIZON):
                actions.append(agent.actor(path[-1]).sample(draws[row, step, ahead][None]))
                state = world.advance(state, actions[-1], noise[row, step, ahead][None])
                path.append(state.features)
            after = torch.cat(path[1:])
            rewards, going = world.reward_head(after), world.continue_head(after)
            values = agent.critic(torch.cat(path))
            returns = lambda_return(rewards, 0.9 * going, values, 0.7)
            weight = 1.0
            for ahead in range(HORIZON):
                actor = agent.actor(path[ahead])
                gain = actor.log_prob(actions[ahead]) * (returns[ahead] - values[ahead]) / 2.0 + 0.01 * actor.entropy()
                total["actor_loss"] -= float(weight * gain) / HORIZON
                losses = agent.critic.losses(path[ahead], returns[ahead], agent.slow_critic(path[ahead]))
                for name, loss in zip(("critic_loss", "slow_critic_loss"), losses, strict=True):
                    total[name] += float(weight * loss) / HORIZON
                weight = weight * 0.9 * float(going[ahead])
            count += 1
    terms = policy(sample)
    for name, expected in total.items():
        assert float(reduce_term(name, terms[name])) == pytest.approx(expected / count, rel=1e-4)
    assert 0 < count < ROWS * (LENGTH + 1)


def test_imagination_may_begin_at_every_second_step():
    policy = policy_of(start_stride=2)
    terms = policy(sample_of(policy))
    assert terms["actor_loss"].valid.shape == (ROWS, 3)
    assert terms["state_loss"].valid.shape == (ROWS, LENGTH + 1)


def test_the_slow_critic_follows_and_the_scale_is_that_of_returns():
    policy = policy_of(slow_tau=0.25, scale_tau=0.5).train()
    agent = policy.agent
    before = agent.slow_critic.module.mlp.linears[0].weight.clone()
    weight = agent.critic.mlp.linears[0].weight
    agent.scale.add(torch.linspace(0.0, 100.0, 101), torch.ones(101, dtype=torch.bool))
    policy.after_step(1)
    torch.testing.assert_close(agent.slow_critic.module.mlp.linears[0].weight, 0.75 * before + 0.25 * weight)
    assert float(agent.scale.value) == pytest.approx(0.5 * 1.0 + 0.5 * 90.0, rel=1e-4)
    agent.scale.value.fill_(0.6)
    agent.scale.add(torch.linspace(0.0, 1.0, 101), torch.ones(101, dtype=torch.bool))
    policy.after_step(2)
    assert float(agent.scale.value) == pytest.approx(0.5 * 0.6 + 0.5 * 0.9, rel=1e-4)
    assert float(agent.scale.divisor) == 1.0  # the mean counts as 1 at least, and not each distance
    assert not any(each.requires_grad for each in agent.slow_critic.parameters())


@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
def test_the_laws_hold(latent):
    policy = policy_of(latent).eval()
    laws.check_policy(policy, laws.with_gaps(sample_of(policy)), laws.random_contexts(policy.windows(), SHAPES))


def test_the_laws_hold_where_an_action_lasts_for_two_steps():
    config = replace(policy_of().config, action_repeat=2, state_key="observation.environment_state")
    torch.manual_seed(0)
    policy = WorldModelPolicy(config).eval()
    windows = {window.key: window.offsets for window in policy.training_windows()}
    assert windows["observation.environment_state"] == tuple(range(0, 2 * LENGTH + 1, 2))
    assert windows[REWARD_KEY] == windows[ACTION_KEY] == tuple(range(2 * LENGTH))
    assert policy.windows()[-1].offsets == (-1, 0, 1)
    shapes = {"observation.environment_state": (3,), **{key: SHAPES[key] for key in SHAPES if key != STATE_KEY}}
    sample = laws.with_gaps(laws.random_sample(training_windows(policy), shapes, rows=ROWS))
    laws.check_policy(policy, sample, laws.random_contexts(policy.windows(), shapes))
    assert policy(sample)["state_loss"].prediction.shape == (ROWS, LENGTH + 1)


def test_the_laws_hold_with_pictures():
    camera = "observation.images.front"
    config = replace(policy_of().config, cameras=(camera,))
    torch.manual_seed(0)
    policy = WorldModelPolicy(config).eval()
    shapes = {**SHAPES, camera: (3, 64, 64)}
    sample = laws.random_sample(training_windows(policy), shapes, rows=2)
    terms = policy(sample)
    assert terms["front_loss"].prediction.shape == (2, LENGTH + 1)
    laws.check_padding_invariance(policy, laws.with_gaps(sample))
    laws.check_reset(policy, laws.random_contexts(policy.windows(), shapes, rows=2, steps=3))


@torch.no_grad()
def test_it_acts_by_what_was_really_done():
    policy = policy_of().eval()
    seen = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    chunk, state = policy.act(context_of(seen), policy.initial_state(3))
    torch.testing.assert_close(state.world.action, chunk.value[:, 0])
    as_chosen, _ = policy.act(context_of(seen + 1, chunk.value[:, 0], first=False), state)
    unknown, _ = policy.act(context_of(seen + 1, first=False), state)
    torch.testing.assert_close(as_chosen.value, unknown.value, rtol=0, atol=0)
    otherwise, later = policy.act(context_of(seen + 1, -chunk.value[:, 0] + 0.5, first=False), state)
    assert not torch.equal(otherwise.value, as_chosen.value)
    torch.testing.assert_close(later.world.action, otherwise.value[:, 0])


@torch.no_grad()
def test_it_explores_by_the_rows_own_seed_and_acts_by_the_mode():
    policy = policy_of().eval()
    seen = torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).expand(3, -1)
    state = policy.with_seeds(policy.initial_state(3), torch.tensor([4, 5, 4]))
    tried, then = policy.explore(context_of(seen), state)
    torch.testing.assert_close(tried.value[0], tried.value[2])
    assert not torch.allclose(tried.value[0], tried.value[1])
    done, after = policy.act(context_of(seen), state)
    torch.testing.assert_close(done.value[:, 0], policy.agent.actor(after.world.features).mean)
    torch.testing.assert_close(after.world.features, then.world.features, rtol=0, atol=0)
    assert max(done.value.abs().max(), tried.value.abs().max()) <= 1.0


@torch.no_grad()
@pytest.mark.parametrize("explores", [False, True])
def test_it_searches_where_it_is_told_to(explores):
    policy = policy_of(plans=True).eval()
    seen = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    state = policy.with_seeds(policy.initial_state(3), torch.tensor([4, 5, 6]))
    chunk, later = (policy.explore if explores else policy.act)(context_of(seen), state)
    assert later.mean.abs().sum() > 0
    assert chunk.value.abs().max() <= 1.0
    alone = policy.with_seeds(policy.initial_state(1), torch.tensor([5]))
    one, _ = (policy.explore if explores else policy.act)(context_of(seen[1:2]), alone)
    torch.testing.assert_close(one.value[0], chunk.value[1], rtol=1e-4, atol=1e-4)
    mean = policy_of().agent.actor(later.world.features).mean
    assert not torch.allclose(chunk.value[:, 0], mean)


def test_dreamer_acts_by_its_actor_and_tdmpc_by_search_unless_told_otherwise():
    found = {name: WorldModelConfig(algorithm=name, robot_state_dim=3).searches for name in ("dreamer", "tdmpc")}
    assert found == {"dreamer": False, "tdmpc": True}
    assert WorldModelConfig(algorithm="dreamer", robot_state_dim=3, plans=True).searches


def test_in_bfloat16_it_learns_nearly_the_same():
    policy = policy_of("gaussian").train()
    sample = sample_of(policy)
    full = Objective()(policy(sample)).terms
    with torch.autocast("cpu", torch.bfloat16):
        report = Objective()(policy(sample))
    report.total.backward()
    assert all(torch.isfinite(each.grad).all() for each in policy.parameters() if each.grad is not None)
    for name, value in full.items():
        assert float(report.terms[name]) == pytest.approx(float(value), rel=0.05, abs=0.05)


def test_it_learns_to_predict_a_sequence_that_repeats():
    policy = policy_of().train()
    torch.manual_seed(0)
    sample = sample_of(policy)
    optimizer = torch.optim.Adam([each for each in policy.parameters() if each.requires_grad], 3e-3)
    totals = []
    for step in range(40):
        report = Objective()(policy(sample))
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        policy.after_step(step)
        totals.append(report.terms)
    assert float(totals[-1]["state_loss"]) < 0.8 * float(totals[0]["state_loss"])
    assert float(totals[-1]["reward_loss"]) < float(totals[0]["reward_loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 0}, "model.dreamer.sequence_length=0 must be at least 1"),
        ({"horizon": 0}, "model.dreamer.horizon=0 must be at least 1"),
        ({"max_std": 1.5}, "model.dreamer.min_std=0.1 must be greater than 0 and at most max_std=1.5"),
        ({"return_lambda": 1.2}, "model.dreamer.return_lambda=1.2 must lie in"),
        ({"entropy_weight": -1.0}, "model.dreamer.entropy_weight=-1.0 must be finite, and not negative"),
        ({"slow_tau": 0.0}, "model.dreamer.slow_tau=0.0 must be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DreamerConfig(**options)
