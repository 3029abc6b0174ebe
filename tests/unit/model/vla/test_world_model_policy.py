"""What policies with a world model tell of their plans: it changes no decision, and it is what the model says."""

from __future__ import annotations

import pytest
import torch
from tests.line_worlds import BODY, policy_of

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.vla.world_model_config import TOLD_DECISIONS
from tempovla.timeline import Context, PlanTellingPolicy, Task, Track
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

ROWS = 3
ALL = [(algorithm, plans) for algorithm in ("tdmpc", "dreamer") for plans in (True, False)]


def seen(step: int) -> Context:
    """What rows see at a decision; two of three begin their second episode at decision 2."""
    drawn = torch.Generator().manual_seed(step)
    past = {ACTION_KEY: Track.of(torch.rand(ROWS, 1, 2, generator=drawn), (-1,))} if step else {}
    now = {STATE_KEY: Track.of(torch.randn(ROWS, 1, 1, generator=drawn), (0,))}
    first = torch.tensor([step in (0, 2), step in (0, 2), step == 0])
    return Context(past, now, (Task("", BODY),) * ROWS, first)


def at_second_decision(policy):
    """A context, and the state in which a policy meets it."""
    state = policy.with_seeds(policy.initial_state(ROWS), torch.arange(ROWS))
    return seen(1), policy.act(seen(0), state)[1]


@torch.no_grad()
@pytest.mark.parametrize(("algorithm", "plans"), ALL)
def test_telling_is_acting(algorithm, plans):
    policy = policy_of(algorithm, plans=plans, action_repeat=2)
    assert isinstance(policy, PlanTellingPolicy)
    state = other = policy.with_seeds(policy.initial_state(ROWS), torch.arange(ROWS))
    for step in range(4):
        acted, state = policy.act(seen(step), state)
        chunk, other, told = policy.tell(seen(step), other)
        assert torch.equal(chunk.value, acted.value)
        assert torch.equal(told.actions[:, 0], chunk.value[:, 0])
        map_tensors(torch.testing.assert_close, state, other)
        assert told.actions.shape == (ROWS, TOLD_DECISIONS, 2)
        assert told.rewards.shape == (ROWS, TOLD_DECISIONS)
        assert told.value.shape == (ROWS,)


@torch.no_grad()
@pytest.mark.parametrize("plans", [True, False])
def test_tdmpc_tells_the_searched_actions_and_then_its_policys(plans):
    policy = policy_of(plans=plans)
    context, state = at_second_decision(policy)
    world, searched = policy.agent.world, 3 if plans else 1
    found = policy.agent._plan(context, state)[0].actions
    _, _, told = policy.tell(context, state)
    assert torch.equal(told.actions[:, :searched], found[:, :searched])
    z = world.encode(context)
    torch.testing.assert_close(told.value, world.value(z, found[:, 0]).mean(dim=0))
    for step, action in enumerate(told.actions.unbind(dim=1)):
        if step >= searched:
            torch.testing.assert_close(action, world.policy(z)[0].tanh())
        joined = torch.cat([z, action], dim=-1)
        torch.testing.assert_close(told.rewards[:, step], world.two_hot.decode(world.reward(joined)))
        z = world.step(z, action)


@torch.no_grad()
@pytest.mark.parametrize("plans", [True, False])
def test_dreamer_tells_the_searched_actions_and_then_its_actors(plans):
    policy = policy_of("dreamer", plans=plans)
    context, state = at_second_decision(policy)
    agent, searched = policy.agent, 3 if plans else 1
    seed, now, perceived = agent.perceive(context, state)
    _, _, told = policy.tell(context, state)
    if plans:
        assert torch.equal(told.actions[:, :3], agent._plan(seed, context.first, perceived).actions)
    torch.testing.assert_close(told.value, agent.critic(now.features))
    for step, action in enumerate(told.actions.unbind(dim=1)):
        if step >= searched:
            torch.testing.assert_close(action, agent.actor(now.features).mean)
        now = agent.world.advance(now, action)
        torch.testing.assert_close(told.rewards[:, step], agent.world.reward_head(now.features))


@torch.no_grad()
def test_a_search_that_looks_farther_is_told_as_it_is():
    base = policy_of()
    planner = base.config.planner
    policy = policy_of(planner=type(planner)(**{**vars(planner), "horizon": TOLD_DECISIONS + 2}))
    _, _, told = policy.tell(*at_second_decision(policy))
    assert told.actions.shape[1] == TOLD_DECISIONS + 2
    assert policy.step_discount == 0.9
