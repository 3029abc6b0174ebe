"""Dreamer's world model as one to plan with."""

from __future__ import annotations

import pytest
import torch
from tests.line_worlds import policy_of

from tempovla.model.vla.dreamer_world import DreamerWorld
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
