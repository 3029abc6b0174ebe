"""What was planned in episodes: decisions come out as they were, and films say what was expected."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.in_process import simulators_in_process
from tests.line_worlds import BODY, SCALE, policy_of

pytest.importorskip("gymnasium")

from tests.toy_simulator import LineConfig

from tempovla.control.controller import Controller
from tempovla.model.vla.goal_policy import GoalPolicy
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.plans import EpisodePlans, plans_of, tells_plans
from tempovla.rollout.evaluate import EvaluationConfig, evaluation_specs, run_specs
from tempovla.timeline import Bundle, Context, Task, Track
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY
from tempovla.transform.normalize import Normalize
from tempovla.transform.pipeline import TransformPipeline

STEPS = 5


def controller_of(policy) -> Controller:
    """The policy behind a transform that scales places and actions."""
    centre = {STATE_KEY: torch.zeros(1), ACTION_KEY: torch.tensor([0.1, 0.0])}
    scale = {STATE_KEY: torch.full((1,), SCALE), ACTION_KEY: torch.tensor([0.5, 1.0])}
    transform = TransformPipeline([Normalize(centre, scale)])
    fields = config_to_json(policy.config)
    bundle = Bundle("world-model", fields, policy.windows(), BODY, transform.to_json(), policy.state_dict())
    return Controller(policy, transform, bundle)


def played(controller: Controller, rows: int = 1):
    config = EvaluationConfig(episodes=2, seed=1, num_envs=rows, workers=1, max_steps=STEPS)
    specs = [replace(spec, record=True) for spec in evaluation_specs(["left"], config)]
    with simulators_in_process():
        return run_specs(controller, specs, LineConfig(), config)


@pytest.mark.parametrize("algorithm", ["tdmpc", "dreamer"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_policy_decides_again_as_it_did(algorithm, stride):
    controller = controller_of(policy_of(algorithm, plans=True, action_repeat=stride))
    for result in played(controller):
        plans = plans_of(controller, result)
        assert (plans.stride, plans.discount) == (stride, 0.9)
        np.testing.assert_array_equal(plans.actions[:, 0], result.actions[::stride])
        rewards = result.recording[REWARD_KEY][:, 0]
        assert plans.received.tolist() == [rewards[i : i + stride].sum() for i in range(0, STEPS, stride)]
        assert plans.rewards.shape == plans.actions.shape[:2]
        assert plans.value.shape == plans.received.shape


def test_rows_that_were_played_together_are_told_one_by_one():
    controller = controller_of(policy_of(plans=True))
    first, second = (plans_of(controller, result).actions[:, 0] for result in played(controller, rows=2))
    assert not np.allclose(first, second)
    for result, told in zip(played(controller, rows=2), (first, second), strict=True):
        np.testing.assert_allclose(told, result.actions, atol=1e-5)


def test_files_have_rounded_figures():
    numbers = np.array([1.23456789, 2.0], np.float32)
    plans = EpisodePlans(2, 0.9, np.zeros((2, 3, 1)), np.array([[0.5, 9.0], [1e-7, 9.0]]), numbers, -numbers)
    assert plans.to_json() == {
        "stride": 2,
        "discount": 0.9,
        "value": [1.23457, 2.0],
        "expected": [0.5, 1e-7],
        "received": [-1.23457, -2.0],
    }


def test_only_controllers_of_policies_with_plans_tell_them():
    policy = policy_of()
    controller = controller_of(policy)
    assert tells_plans(controller)
    assert not tells_plans(object())
    goal = Context({}, {STATE_KEY: Track.of(torch.ones(1, 1, 1), (0,))}, (Task("", BODY),), torch.ones(1).bool())
    controller.policy = GoalPolicy(policy, goal)
    assert not tells_plans(controller)


@pytest.mark.sim
def test_films_of_a_policy_that_sees_no_pictures_say_what_it_expected(tmp_path):
    dm_control = pytest.importorskip("tempovla.env.dm_control")
    simulator = dm_control.DmControlConfig(task="reacher-easy")
    body = simulator.embodiment
    policy = policy_of(robot_state_dim=body.state_dim, action_dim=body.action_dim)
    fields = config_to_json(policy.config)
    Bundle("world-model", fields, policy.windows(), body, {"steps": []}, policy.state_dict()).save(tmp_path / "ckpt")
    config = EvaluationConfig(episodes=1, num_envs=1, workers=1, max_steps=4)
    outputs = Outputs(results=tmp_path / "results.json", videos=tmp_path / "rollouts")
    with simulators_in_process():
        results = evaluate_checkpoint(tmp_path / "ckpt", simulator, ["reacher-easy"], config, outputs=outputs)
    (entry,) = json.loads((tmp_path / "rollouts" / "index.json").read_text())
    assert (tmp_path / "rollouts" / entry["file"]).stat().st_size > 0
    assert {name: len(entry["plans"][name]) for name in ("value", "expected", "received")} == dict.fromkeys(
        ("value", "expected", "received"), 4
    )
    assert sum(entry["plans"]["received"]) == pytest.approx(results["episodes"][0]["total_reward"], abs=1e-5)
