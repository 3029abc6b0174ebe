"""Planning in one call: towards rewards and goals, within bounds, by a search or by inverse dynamics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.dynamics_model import LatentDynamics
from tempovla.model.world_model.planning.config import KINDS, PlannerConfig
from tempovla.model.world_model.planning.plan import plan
from tempovla.model.world_model.planning.scores import Costs, Goal, goal_score, picture_score
from tempovla.timeline import Context, Embodiment, Task, Track
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

BODY = Embodiment("toy", 2, 2, 10.0)
FRONT = IMAGE_KEY_PREFIX + "front"


class Walker:
    """A point that moves by a tenth of each action; it is rewarded for being at the right, and can be seen."""

    action_dim = 2

    def encode(self, observation: Context, previous: Any = None) -> Tensor:
        return observation.now[STATE_KEY].at(0)[0]

    def imagine(self, state: Tensor, actions: Tensor) -> Tensor:
        return state[:, None, None] + 0.1 * actions.cumsum(dim=2)

    def predict_rewards(self, state: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        return states[..., 0]

    def predict_return(self, state: Tensor, actions: Tensor) -> Tensor:
        return self.predict_rewards(state, actions, self.imagine(state, actions)).sum(dim=2)

    def decode(self, states: Tensor) -> dict[str, Tensor]:
        return {FRONT: (states[..., 0, None, None, None] * 255.0).expand(*states.shape[:-1], 3, 2, 2)}

    def inverse_action(self, state: Tensor, goal: Tensor, steps_left: int) -> Tensor:
        return ((goal - state) / (0.1 * steps_left)).clamp(-1.0, 1.0)


def seen(*places: tuple[float, float], pictures: bool = False) -> Context:
    value = torch.tensor(places)[:, None]
    tracks = {STATE_KEY: Track.of(value, (0,))}
    if pictures:
        tracks[FRONT] = Track.of((value[..., :1, None, None] * 255.0).expand(-1, 1, 3, 2, 2), (0,))
    rows = len(places)
    return Context({}, tracks, (Task("", BODY),) * rows, torch.ones(rows, dtype=torch.bool))


def reached(model: Walker, here: Context, found: Any) -> Tensor:
    return model.imagine(model.encode(here), found.actions[:, None])[:, 0, -1]


HERE, THERE = seen((0.0, 0.0), (0.5, -0.5)), seen((0.4, 0.3), (0.2, -0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_actions_go_where_the_rewards_are(kind):
    action = plan(Walker(), HERE, kind=kind)
    assert action.shape == (2, 2)
    assert (action[:, 0] > 0.2).all()


@pytest.mark.parametrize("kind", ["mppi", "cem", "icem", "inverse_dynamics"])
def test_a_plan_leads_to_its_goal(kind):
    settings = PlannerConfig(num_policy_samples=0, temperature=50.0, iterations=8)
    found = plan(Walker(), HERE, 6, kind=kind, goal=THERE, settings=settings, whole=True)
    assert found.actions.shape == (2, 6, 2)
    assert (reached(Walker(), HERE, found) - torch.tensor([[0.4, 0.3], [0.2, -0.1]])).abs().max() < 0.05
    assert (found.value > -0.01).all()


def test_inverse_dynamics_of_a_linear_world_are_exact():
    found = plan(Walker(), HERE, 6, kind="inverse_dynamics", goal=THERE, whole=True)
    torch.testing.assert_close(reached(Walker(), HERE, found), Walker().encode(THERE))
    torch.testing.assert_close(found.actions[:, 0], found.actions[:, 5])


def test_a_goal_of_one_row_is_that_of_all_and_may_be_a_latent_state():
    one = plan(Walker(), HERE, 4, goal=seen((0.1, 0.1)))
    other = plan(Walker(), HERE, 4, goal=torch.tensor([[0.1, 0.1], [0.1, 0.1]]))
    torch.testing.assert_close(one, other)


def test_costs_are_added_up_by_their_weights():
    model, state = Walker(), Walker().encode(HERE)
    goal = Goal.of(model, seen((0.4, 0.3), (0.2, -0.1), pictures=True), 2)
    actions = torch.rand(2, 5, 4, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    states = model.imagine(state, actions)
    apart = (states - goal.state[:, None, None]).square().sum(dim=-1)
    darker = (states[..., 0] - goal.state[:, None, None, 0]).square()
    last = Costs(reward_weight=0.5, goal_weight=2.0, picture_weight=3.0).score(model, state, goal)(actions)
    expected = 0.5 * states[..., 0].sum(dim=2) - 2.0 * apart[:, :, -1] - 3.0 * darker[:, :, -1]
    torch.testing.assert_close(last, expected)
    path = Costs(goal_weight=2.0, picture_weight=3.0, when="path").score(model, state, goal)(actions)
    torch.testing.assert_close(path, -2.0 * apart.mean(dim=2) - 3.0 * darker.mean(dim=2))
    torch.testing.assert_close(
        Costs().score(model, state, goal)(actions), goal_score(model, state, goal.state)(actions)
    )
    torch.testing.assert_close(Costs().score(model, state)(actions), model.predict_return(state, actions))


def test_a_goal_is_encoded_once():
    calls = []

    class Counting(Walker):
        def encode(self, observation: Context, previous: Any = None) -> Tensor:
            calls.append(observation)
            return super().encode(observation)

    plan(Counting(), HERE, 3, goal=THERE)
    assert calls == [HERE, THERE]


def test_bounds_are_kept_and_used_up():
    low, high = [-0.2, 1.0], [0.5, 3.0]
    tried = []

    class Watching(Walker):
        def predict_return(self, state: Tensor, actions: Tensor) -> Tensor:
            tried.append(actions)
            return super().predict_return(state, actions)

    found = plan(Watching(), HERE, 3, kind="cem", low=low, high=high, whole=True)
    every = torch.cat([each.flatten(0, 2) for each in tried])
    least, most = every.amin(dim=0), every.amax(dim=0)
    torch.testing.assert_close(least, torch.tensor(low), atol=1e-6, rtol=0)
    torch.testing.assert_close(most, torch.tensor(high), atol=1e-6, rtol=0)
    assert (found.actions[..., 0] > 0.4).all()
    exact = plan(Walker(), HERE, 3, kind="inverse_dynamics", goal=THERE, low=low, high=high, whole=True)
    assert (exact.actions >= torch.tensor(low)).all()
    assert (exact.actions <= torch.tensor(high) + 1e-6).all()


def test_a_row_depends_on_its_own_seed_and_a_plan_begins_where_it_is_told():
    seeds = torch.tensor([3, 4])
    both = plan(Walker(), HERE, 4, seed=seeds)
    alone = plan(Walker(), seen((0.5, -0.5)), 4, seed=seeds[1:])
    torch.testing.assert_close(both[1], alone[0])
    narrow = PlannerConfig(max_std=0.06, num_policy_samples=0, iterations=1)
    begun = plan(Walker(), HERE, 2, low=-2.0, high=2.0, start=torch.full((2, 2, 2), 1.5), settings=narrow, whole=True)
    assert (begun.actions - 1.5).abs().max() < 0.7


def test_dropout_is_off_meanwhile_and_proposals_come_from_the_models_policy():
    torch.manual_seed(0)
    sizes = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 12, "num_values": 3, "bins": 11}
    world = LatentDynamics(LatentDynamicsConfig(**sizes, dropout=0.5), 2, 2).train()
    torch.nn.init.normal_(world.values.weights[-1])
    first = plan(world, HERE, 3, num_samples=16, whole=True)
    again = plan(world, HERE, 3, num_samples=16, whole=True)
    assert world.training
    torch.testing.assert_close(first.value, again.value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "^horizon=0 must be at least 1"),
        ({"horizon": -3}, "^horizon=-3 must be at least 1"),
        ({"horizon": 2.5}, "^horizon=2.5 must be a whole number"),
        ({"horizon": 0, "kind": "inverse_dynamics", "goal": THERE}, "horizon=0 must be at least 1"),
        ({"kind": "gradient"}, "^kind='gradient' is unknown; choose from mppi, .*, inverse_dynamics"),
        ({"num_samples": 0}, "^num_samples=0 must be at least 1"),
        ({"low": -1.0}, "low=-1.0 without high; give both bounds"),
        ({"high": [1.0, 2.0]}, r"high=\[1.0, 2.0\] without low; give both bounds"),
        ({"low": -1.0, "high": float("inf")}, "high=inf must be finite"),
        ({"low": [-1.0, float("-inf")], "high": 1.0}, r"low=\[-1.0, -inf\] must be finite"),
        ({"low": 1.0, "high": -1.0}, r"low=\[1.0, 1.0\] must be below high=\[-1.0, -1.0\] in every dimension"),
        ({"low": float("nan"), "high": 1.0}, "low=nan must be finite"),
        ({"low": [0.0, 0.0, 0.0], "high": 1.0}, r"low=\[0.0, 0.0, 0.0\] must be 2 numbers"),
        ({"low": [0.0, 1.0], "high": 1.0}, r"low=\[0.0, 1.0\] must be below high=\[1.0, 1.0\] in every dimension"),
        ({"start": torch.zeros(2, 3, 2)}, r"start \(2, 3, 2\) must be \(2, 15, 2\)"),
        ({"seed": torch.zeros(3, dtype=torch.int64)}, r"seed \(3,\) .* must be a number, or \(2,\) int64"),
        ({"kind": "inverse_dynamics"}, "kind='inverse_dynamics' needs a goal"),
        ({"goal": seen((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))}, "the goal has 3 rows, but 2 are planned for"),
        ({"goal": Context({}, {}, (Task("", BODY),), torch.ones(1).bool())}, "the goal lacks 'observation.state'"),
        ({"costs": Costs(reward_weight=0.0)}, "nothing counts in the plan"),
        ({"goal": torch.zeros(2, 2), "costs": Costs(picture_weight=1.0)}, "needs a goal that is a Context"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        plan(Walker(), HERE, **options)
    assert "\n" not in str(refused.value)


def test_observations_that_do_not_fit_are_told_in_one_line():
    world = LatentDynamics(LatentDynamicsConfig(latent_dim=8, group_dim=4), 2, 5)
    with pytest.raises(ValueError, match=r"the observation is a Tensor; give a Context of tempovla.timeline"):
        plan(world, torch.zeros(1, 5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'observation.state' has the shape \(2,\) a step, but .* reads \(5,\); give"):
        plan(world, HERE)
    with pytest.raises(ValueError, match=r"the observation lacks 'observation.state', .* it holds \[\]; give it"):
        plan(world, Context({}, {}, HERE.task, HERE.first))
    with pytest.raises(ValueError, match=r"'observation.state' holds nan; repair it, or mark its step as invalid"):
        plan(Walker(), seen((float("nan"), 0.0)))
    with pytest.raises(ValueError, match=r"the world model is a LatentDynamicsConfig; .* policy.agent.planning_world"):
        plan(world.config, HERE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"actions \(1, 4, 3, 3\) must be \(rows, candidates, steps, 2\)"):
        world.imagine(torch.zeros(1, 8), torch.zeros(1, 4, 3, 3))


def test_settings_of_costs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"costs.when='first' is unknown; choose from last, path"):
        Costs(when="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"costs.goal_weight=inf must be finite"):
        Costs(goal_weight=float("inf"))
    for name in ("goal_weight", "picture_weight"):
        with pytest.raises(ValueError, match=rf"costs.{name}=0.5 compares with a goal, which is missing; give a goal"):
            plan(Walker(), HERE, costs=Costs(**{name: 0.5}))


def test_what_is_seen_and_invalid_may_be_anything():
    unknown = Track(torch.full((2, 1, 2), float("nan")), torch.zeros(2, 1, dtype=torch.bool), torch.zeros(1).long())
    here = Context({}, HERE.now | {"observation.other": unknown}, HERE.task, HERE.first)
    torch.testing.assert_close(plan(Walker(), here, num_samples=16), plan(Walker(), HERE, num_samples=16))


def test_a_model_without_a_decoder_sizes_or_vectors_is_told():
    class Bare:
        encode, imagine = Walker.encode, Walker.imagine
        predict_rewards, predict_return = Walker.predict_rewards, Walker.predict_return

    with pytest.raises(ValueError, match="Bare has no decoder, which picture_weight needs; leave picture_weight out"):
        picture_score(Bare(), torch.zeros(1, 2), seen((0.0, 0.0), pictures=True))
    with pytest.raises(ValueError, match="the world model has no action_dim; give low and high"):
        plan(Bare(), HERE)
    with pytest.raises(ValueError, match="Bare has no inverse dynamics; plan by a search"):
        plan(Bare(), HERE, kind="inverse_dynamics", goal=THERE, low=[-1, -1], high=1.0)
    with pytest.raises(ValueError, match="_Blind reads no pictures, so it decodes none, which picture_weight needs"):
        picture_score(_Blind(), torch.zeros(1, 2), seen((0.0, 0.0)))(torch.zeros(1, 1, 1, 2))
    with pytest.raises(ValueError, match=r"the goal has the pictures .*front.* but the model decodes"):
        picture_score(_OfAnotherCamera(), torch.zeros(1, 2), seen((0.0, 0.0), pictures=True))(torch.zeros(1, 1, 1, 2))


class _Blind(Walker):
    def decode(self, states: Tensor) -> dict[str, Tensor]:
        return {}


class _OfAnotherCamera(Walker):
    def decode(self, states: Tensor) -> dict[str, Tensor]:
        return {"observation.images.side": super().decode(states)[FRONT]}
