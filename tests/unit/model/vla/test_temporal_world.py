"""StateVLA's temporal predictor as a world model to plan with."""

from __future__ import annotations

import pytest
import torch
from tests.line_worlds import policy_of
from tests.tiny import tiny_statevla_config

from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import JepaConfig
from tempovla.model.vla.temporal_world import TemporalWorld
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.plan import plan
from tempovla.model.world_model.planning.scores import Costs, goal_score
from tempovla.model.world_model.planning.search import search
from tempovla.model.world_model.protocol import WorldModel
from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.keys import ENCODING_KEY

STRIDE, DIMS, ACTIONS = 2, 8, 2
EFFECT = torch.randn(ACTIONS, DIMS, generator=torch.Generator().manual_seed(5)) * 0.3
"""Of an action on z, which it adds to."""
BODY = Embodiment("toy", 3, ACTIONS, 10.0)


def after(z: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """What truly comes of actions (B, H, A)."""
    return z + (actions @ EFFECT).sum(dim=1)


@pytest.fixture(scope="module")
def world() -> TemporalWorld:
    """A predictor that has learned these linear dynamics from random steps."""
    torch.manual_seed(0)
    jepa = JepaConfig(prediction_horizon=STRIDE, temporal_predictor_hidden_dim=32)
    policy = StateVLA(tiny_statevla_config(action_dim=ACTIONS, has_gripper=False, state_dim=DIMS, jepa=jepa)).eval()
    predictor = policy.temporal_predictor.requires_grad_(True)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=3e-3)
    for _ in range(300):
        z, actions = torch.randn(64, DIMS), torch.rand(64, STRIDE, ACTIONS) * 2 - 1
        loss = (predictor(z, actions.flatten(1)) - after(z, actions)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.01
    return TemporalWorld(policy)


def test_it_is_a_world_model_that_imagines_in_strides(world):
    assert isinstance(world, WorldModel)
    z = torch.randn(2, DIMS)
    actions = torch.rand(2, 5, 3 * STRIDE, ACTIONS) * 2 - 1
    states = world.imagine(z, actions)
    assert states.shape == (2, 5, 3, DIMS)
    expected = z
    for stride in range(3):
        chunk = actions[:, 4, stride * STRIDE : (stride + 1) * STRIDE]
        expected = world.policy.temporal_predictor(expected, chunk.flatten(1))
        torch.testing.assert_close(states[:, 4, stride], expected)


@torch.no_grad()
def test_a_plan_towards_a_goal_comes_nearer_than_chance(world):
    rows, horizon = 8, 3 * STRIDE
    drawn = torch.Generator().manual_seed(1)
    z = torch.randn(rows, DIMS, generator=drawn)
    goal = after(z, torch.rand(rows, horizon, ACTIONS, generator=drawn) * 2 - 1)
    config = PlannerConfig(kind="cem", horizon=horizon, num_samples=128, num_elites=16, num_policy_samples=0)
    seed, start = torch.arange(rows), torch.zeros(rows, horizon, ACTIONS)
    found = search(config, goal_score(world, z, goal), start, seed).actions
    chance = (torch.rand(rows, horizon, ACTIONS, generator=drawn) * 2 - 1, start)
    apart = [(after(z, actions) - goal).norm(dim=-1).mean() for actions in (found, *chance)]
    assert apart[0] < 0.3 * apart[1]
    assert apart[0] < 0.3 * apart[2]


def test_it_plans_from_observations_whose_encodings_are_known(world):
    now = {ENCODING_KEY: Track.of(torch.randn(2, 1, DIMS), (0,))}
    seen = Context({}, now, (Task("", BODY),) * 2, torch.ones(2, dtype=torch.bool))
    action = plan(world, seen, 2 * STRIDE, kind="cem", num_samples=16, goal=torch.zeros(2, DIMS))
    assert action.shape == (2, ACTIONS)


def test_a_horizon_between_two_strides_is_refused(world):
    with pytest.raises(ValueError, match=r"horizon=3 is no multiple of the 2 steps .* looks ahead; give 2 or 4"):
        world.imagine(torch.zeros(1, DIMS), torch.zeros(1, 4, 3, ACTIONS))
    with pytest.raises(ValueError, match=r"horizon=1 is no multiple .* give 2$"):
        world.imagine(torch.zeros(1, DIMS), torch.zeros(1, 4, 1, ACTIONS))


def test_rewards_are_not_predicted(world):
    now = {ENCODING_KEY: Track.of(torch.randn(1, 1, DIMS), (0,))}
    seen = Context({}, now, (Task("", BODY),), torch.ones(1, dtype=torch.bool))
    with pytest.raises(ValueError, match="StateVLA predicts no rewards; give a goal to plan for"):
        plan(world, seen, STRIDE, num_samples=8)
    with pytest.raises(ValueError, match="StateVLA predicts no rewards"):
        plan(world, seen, STRIDE, num_samples=8, goal=torch.zeros(1, DIMS), costs=Costs(reward_weight=1.0))


def test_a_policy_without_the_predictor_is_refused():
    with pytest.raises(ValueError, match=r"a WorldModelPolicy has no temporal predictor .* its agent.planning_world"):
        TemporalWorld(policy_of("dreamer"))  # type: ignore[arg-type]
