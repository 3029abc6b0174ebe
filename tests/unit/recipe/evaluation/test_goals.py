"""Evaluations of a world model that plans towards a goal: who may, how it acts, and what results say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tests.in_process import simulators_in_process
from tests.line_worlds import SCALE, bundle_of, frames, policy_of, replay_of

pytest.importorskip("gymnasium")

from tests.toy_simulator import LineConfig

from tempovla.control.controller import Controller
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.model.vla.goal_policy import GoalPolicy
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.planning.scores import Costs
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.comparison import compare_evaluations
from tempovla.recipe.evaluation.goals import GoalOptions, towards_goal
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Context, Task, Track
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.pipeline import TransformPipeline

CONFIG = EvaluationConfig(episodes=2, seed=1, num_envs=2, workers=1, max_steps=4)


@pytest.fixture
def replay(tmp_path):
    return replay_of(tmp_path / "replay", frames([0.0, 0.4, -0.6, 0.3], [0.0, 1.0, 0.0, 0.0]))


def seen_at(place: float, first: bool = True, action: tuple[float, float] | None = None) -> Context:
    past = {} if action is None else {ACTION_KEY: Track.of(torch.tensor([[action]]), (-1,))}
    now = {STATE_KEY: Track.of(torch.tensor([[[place]]]), (0,))}
    return Context(past, now, (Task("", LineConfig.embodiment),), torch.tensor([first]))


def action_of(controller, context: Context) -> torch.Tensor:
    state = controller.with_seeds(controller.initial_state(1), [3])
    return controller.act(context, state)[0].value


@pytest.mark.parametrize("by", ["search", "inverse_dynamics"])
def test_it_acts_as_towards_the_prepared_observation_of_the_step(replay, by):
    policy = policy_of(inverse=1.0)
    bundle = bundle_of(policy)
    options = GoalOptions(f"{replay}:0:2", by=by)
    acting, said = towards_goal(Controller.from_bundle(bundle), options, bundle)
    aimed = GoalPolicy(policy, seen_at(-0.6 / SCALE), by_inverse_dynamics=by == "inverse_dynamics")
    expected = action_of(Controller(aimed, TransformPipeline.of(bundle), bundle), seen_at(0.2))
    torch.testing.assert_close(action_of(acting, seen_at(0.2)), expected)
    goal = said["goal"]
    assert (goal["dataset"], goal["episode"], goal["step"], goal["by"]) == (str(replay), 0, 2, by)
    costs = {"reward_weight": None, "goal_weight": 1.0, "picture_weight": 0.0, "when": "last"}
    assert goal.get("costs") == (None if by == "inverse_dynamics" else costs)
    assert len(goal["sha256"]) == 64


def test_costs_count(replay):
    bundle = bundle_of(policy_of())
    costs = Costs(reward_weight=1.0, goal_weight=0.1, when="path")
    acting, said = towards_goal(Controller.from_bundle(bundle), GoalOptions(replay, costs=costs), bundle)
    assert (said["goal"]["step"], said["goal"]["costs"]["when"]) == (2, "path")
    alone, _ = towards_goal(Controller.from_bundle(bundle), replay, bundle)
    assert not torch.equal(action_of(acting, seen_at(0.2)), action_of(alone, seen_at(0.2)))


def test_a_model_that_remembers_aims_at_what_it_knows_there(replay):
    policy = policy_of("dreamer")
    bundle = bundle_of(policy)
    acting, _ = towards_goal(Controller.from_bundle(bundle), f"{replay}:0:2", bundle)
    world, state = policy.agent.world, None
    actions = torch.from_numpy(frames([0.0] * 4, [0.0] * 4)[ACTION_KEY])
    with torch.no_grad():
        for step, place in enumerate((0.0, 0.4, -0.6)):
            before = None if step == 0 else tuple(actions[step - 1].tolist())
            state = world.encode(seen_at(place / SCALE, step == 0, before), state)
    torch.testing.assert_close(acting.policy._goal.state.features, state.features)
    with torch.no_grad():
        fresh = world.encode(seen_at(-0.6 / SCALE))
    assert not torch.allclose(fresh.features, state.features)


def test_without_a_goal_nothing_changes():
    bundle = bundle_of(policy_of())
    actor = Controller.from_bundle(bundle)
    assert towards_goal(actor, None, bundle) == (actor, {})


def test_policies_that_cannot_plan_towards_a_goal_are_refused(replay):
    bundle = replace(bundle_of(policy_of()), policy="vla")
    with pytest.raises(ValueError, match="policy 'vla' has no world model that plans towards a goal; leave the goal"):
        towards_goal(Controller(SimpleNamespace(), TransformPipeline([]), bundle), replay, bundle)
    with pytest.raises(ValueError, match="an exported file plans towards no goal; give its checkpoint"):
        towards_goal(object(), replay, bundle)
    for policy, message in (
        (policy_of(), "did not learn inverse dynamics; train it with model.tdmpc.inverse_dynamics_weight=1"),
        (policy_of("dreamer"), "algorithm 'dreamer' learns no inverse dynamics; plan towards the goal by a search"),
    ):
        bundle = bundle_of(policy)
        with pytest.raises(ValueError, match=message):
            towards_goal(Controller.from_bundle(bundle), GoalOptions(replay, by="inverse_dynamics"), bundle)
    bundle = bundle_of(WorldModelPolicy(replace(policy_of().config, plans=False)))
    with pytest.raises(ValueError, match=r"model\.plans=false acts without planning, but the goal .* leave out one"):
        towards_goal(Controller.from_bundle(bundle), replay, bundle)
    bundle = bundle_of(policy_of())
    for costs, message in (
        (Costs(goal_weight=0.0), "nothing counts in the plan; give costs.reward_weight, or"),
        (
            Costs(picture_weight=1.0),
            "LatentDynamics has no decoder, which picture_weight needs; leave picture_weight out",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            towards_goal(Controller.from_bundle(bundle), GoalOptions(replay, costs), bundle)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, {"goal_weight": 1.0}, None), r"--goal_costs has no effect without a goal; give --goal DATASET\[:EP"),
        ((None, None, "search"), "--goal_by has no effect without a goal"),
        (("data", {"goal_wight": 1.0}, None), "keys .'goal_wight'. are unknown to Costs; did you mean 'goal_weight'"),
        (("data", {"when": "soon"}, None), "goal_costs.when is 'soon'; choose from last, path"),
        (("data", {"goal_weight": 1.0}, "inverse_dynamics"), "goal_costs have no effect with goal_by=inverse_dynamics"),
        (("data", None, "magic"), "goal_by='magic' is unknown; choose from search, inverse_dynamics"),
        (("", None, None), "goal='' is no path; give that of a dataset"),
    ],
)
def test_options_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        GoalOptions.given(*given)


def test_options_as_a_user_writes_them():
    assert GoalOptions.given(None, None, None) is None
    options = GoalOptions.given("data:3", {"reward_weight": 1, "when": "path"}, None)
    assert options == GoalOptions("data:3", Costs(reward_weight=1, when="path"), "search")


def test_an_evaluation_says_its_goal_and_is_compared_with_one_without(tmp_path, replay, monkeypatch):
    monkeypatch.setitem(SIMULATOR_REGISTRY, "line", (LineConfig, "a line"))
    bundle_of(policy_of()).save(tmp_path / "checkpoint")
    files = [tmp_path / name for name in ("without.json", "with.json", "near.json")]
    goals = (None, f"{replay}:0:2", GoalOptions(f"{replay}:0:1", Costs(goal_weight=2.0)))
    with simulators_in_process():
        results = [
            evaluate_checkpoint(
                tmp_path / "checkpoint", LineConfig(), ["left"], CONFIG, goal=goal, outputs=Outputs(results=file)
            )
            for goal, file in zip(goals, files, strict=True)
        ]
    assert "goal" not in results[0]
    assert results[1]["goal"]["step"] == 2
    assert results[0]["summary"].endswith("initial states drawn at random.")
    assert results[1]["summary"].endswith(f"drawn at random, towards step 2 of episode 0 of {replay}.")
    assert compare_evaluations(files[0], files[1])["remarks"] == [f"goal is None in A and {replay}:0:2 in B"]
    costs = {"reward_weight": None, "goal_weight": 1.0, "picture_weight": 0.0, "when": "last"}
    assert compare_evaluations(files[1], files[2])["remarks"] == [
        f"goal is {replay}:0:2 in A and {replay}:0:1 in B",
        f"goal_costs is {costs} in A and {costs | {'goal_weight': 2.0}} in B",
    ]


def test_a_goal_keeps_the_stride_of_its_policy(replay):
    policy = policy_of(action_repeat=2)
    bundle = bundle_of(policy)
    acting, _ = towards_goal(Controller.from_bundle(bundle), replay, bundle)
    assert acting.frame_stride == 2
    assert action_of(acting, seen_at(0.2)).shape == (1, 2, 2)
