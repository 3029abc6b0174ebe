"""Dreamer's world model as one to plan with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.line_worlds import policy_of

from tempovla.model.vla.dreamer_world import DreamerWorld
from tempovla.model.vla.goal_policy import goal_of_steps
from tempovla.model.world_model.planning.plan import plan
from tempovla.model.world_model.planning.scores import Costs
from tempovla.model.world_model.protocol import DecodingWorldModel, FeaturedWorldModel, InvertingWorldModel, WorldModel
from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.keys import STATE_KEY

FRONT = "observation.images.front"


def seen(rows: int, camera: str | None = None) -> Context:
    now = {STATE_KEY: Track.of(torch.linspace(-1, 1, rows)[:, None, None], (0,))}
    if camera is not None:
        now[camera] = Track.of(torch.full((rows, 1, 3, 64, 64), 100, dtype=torch.uint8), (0,))
    return Context({}, now, (Task("", Embodiment("hand", 1, 2, 10.0)),) * rows, torch.ones(rows).bool())


@torch.no_grad()
def test_it_tells_what_the_agent_expects():
    agent = policy_of("dreamer").agent
    world = agent.planning_world
    for kind in (WorldModel, FeaturedWorldModel, DecodingWorldModel):
        assert isinstance(world, kind)
    assert not isinstance(world, InvertingWorldModel)
    state, actions = world.encode(seen(2)), torch.rand(2, 5, 3, 2) * 2 - 1
    states = world.imagine(state, actions)
    torch.testing.assert_close(world.features(states), agent.world.imagine(state, actions).features)
    torch.testing.assert_close(world.predict_return(state, actions), agent.predict_return(state, actions))
    torch.testing.assert_close(world.predict_rewards(state, actions, states), agent.world.reward_head(states.features))
    valued = agent.world.predict_return(state, actions)
    assert not torch.allclose(world.predict_return(state, actions), valued)


@torch.no_grad()
def test_plans_compare_its_pictures_with_those_of_the_goal():
    world = policy_of("dreamer", cameras=(FRONT,)).agent.planning_world
    assert isinstance(world, DreamerWorld)
    decoded = world.decode(world.imagine(world.encode(seen(2, FRONT)), torch.zeros(2, 1, 1, 2)))
    assert {key: tuple(value.shape) for key, value in decoded.items()} == {FRONT: (2, 1, 1, 3, 64, 64)}
    assert decoded[FRONT].min() >= 0.0
    assert decoded[FRONT].max() > 1.0
    goal, costs = seen(1, FRONT), Costs(goal_weight=0.0, picture_weight=1.0)
    found = plan(world, seen(2, FRONT), horizon=1, kind="shooting", num_samples=8, goal=goal, costs=costs, whole=True)
    imagined = world.decode(world.imagine(world.encode(seen(2, FRONT)), found.actions[:, None]))[FRONT]
    expected = -((imagined - 100.0) / 255.0).square().flatten(1).mean(dim=1)
    assert found.value.tolist() == pytest.approx(expected.tolist(), rel=1e-3)


@torch.no_grad()
def test_the_recurrent_model_alone_plans_towards_goals_too():
    policy = policy_of("dreamer", cameras=(FRONT,))
    rssm, world, now = policy.agent.world, policy.agent.planning_world, seen(2, FRONT)
    search: dict[str, Any] = {"horizon": 2, "kind": "cem", "num_samples": 8, "whole": True}
    for goal in (seen(1, FRONT), rssm.encode(seen(1, FRONT)), goal_of_steps(policy, [seen(1, FRONT)] * 2)):
        found = plan(rssm, now, goal=goal, **search)
        torch.testing.assert_close(found.actions, plan(world, now, goal=goal, **search).actions)
    costs = Costs(goal_weight=0.0, picture_weight=1.0)
    assert plan(rssm, now, goal=seen(1, FRONT), costs=costs, **search).actions.shape == (2, 2, 2)


@torch.no_grad()
def test_a_plan_begins_with_what_the_model_remembers():
    rssm, now = policy_of("dreamer").agent.world, replace(seen(2), first=torch.zeros(2).bool())
    before = rssm.encode(seen(2))
    goal = plan(rssm, now, horizon=2, kind="cem", num_samples=8, goal=seen(1), previous=before, whole=True)
    state = rssm.encode(now, before)
    apart = rssm.imagine(state, goal.actions[:, None]).features[:, 0, -1] - rssm.encode(seen(1)).features
    torch.testing.assert_close(goal.value, -apart.square().sum(dim=-1))


def test_a_model_without_cameras_has_no_pictures_to_compare():
    world = policy_of("dreamer").agent.planning_world
    with pytest.raises(ValueError, match=r"DreamerWorld reads no pictures, .* which picture_weight needs; leave"):
        plan(world, seen(1), goal=seen(1), costs=Costs(picture_weight=1.0))
