"""Evaluations whose score is the return: what is written, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.contract.policy_cases import seeded
from tests.in_process import simulators_in_process
from tests.tiny import tiny_vla_config

pytest.importorskip("dm_control")

from tempovla.data.lerobot import open_dataset
from tempovla.env.dm_control import DmControlConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.comparison import compare_evaluations
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.scores import scores_of
from tempovla.recipe.evaluation.simulators import evaluate
from tempovla.recipe.evaluation.videos import choose_episodes
from tempovla.report.page import write_report
from tempovla.report.tables import score_table
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.rollout.metrics import MeanReturn, SuccessRate
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_to_json
from tempovla.transform.blind import BlankImages
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer

pytestmark = pytest.mark.sim

CONFIG = EvaluationConfig(episodes=3, seed=1, num_envs=2, workers=1, max_steps=12)
REACHER = DmControlConfig(task="reacher-easy")


def episode(task: str, total_reward: float, success: bool = False) -> EpisodeResult:
    return EpisodeResult(EpisodeSpec(task, int(total_reward)), "move", success, 5, total_reward)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A blind arm, that has learned nothing."""
    body, camera = REACHER.embodiment, "observation.images.0"
    options = {"flow_matching": {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "num_steps": 2}}
    sizes = {"max_instruction_tokens": 12, "robot_state_dim": body.state_dim, "action_dim": body.action_dim}
    config = replace(tiny_vla_config("flow_matching", action_head_options=options, **sizes), cameras=(camera,))
    policy = seeded(lambda: VLAModel(config).eval())
    transform = TransformPipeline([BlankImages((camera,), 16), TokenizeInstruction(WordTokenizer(16), 12)]).to_json()
    known = {"instructions": [REACHER.instruction("reacher-easy")]}
    path = tmp_path_factory.mktemp("run") / "checkpoint"
    fields = config_to_json(policy.config)
    Bundle("vla", fields, policy.windows(), body, transform, policy.state_dict(), known).save(path)
    return path


def test_returns_are_averaged_by_task_and_over_tasks():
    played = [episode("a", 1), episode("a", 3), episode("b", 10), episode("b", 10)]
    scores = scores_of("return", played, {"a": "go", "b": "stay"})
    of_a = MeanReturn.of([1, 3])
    assert list(scores) == ["score", "tasks", "mean"]
    assert scores["tasks"]["a"] == {"instruction": "go", "return": 2, "episodes": 2, "return_ci95": list(of_a.interval)}
    assert (scores["mean"]["return"], scores["mean"]["episodes"]) == (6, 4)


def test_successes_are_counted_as_ever():
    scores = scores_of("success", [episode("a", 1, True), episode("a", 3)], {"a": "go"})
    block = {"success": 0.5, "episodes": 2, "ci95": list(SuccessRate(1, 2).interval)}
    block["solved_at_once"] = 0
    assert scores == {"tasks": {"a": {"instruction": "go"} | block}, "mean": block}


def test_episodes_that_the_first_step_solved_are_counted_by_task_and_in_all():
    played = [replace(episode("a", 1, True), steps=1), episode("a", 3, True), replace(episode("b", 0), steps=1)]
    scores = scores_of("success", [*played, replace(episode("b", 5, True), steps=1)] * 2, {"a": "go", "b": "stay"})
    found = {task: (block["success"], block["solved_at_once"]) for task, block in scores["tasks"].items()}
    assert found == {"a": (1.0, 2), "b": (0.5, 2)}
    assert scores["mean"]["solved_at_once"] == 4
    assert "solved_at_once" not in scores_of("return", played, {"a": "go", "b": "stay"})["mean"]


def test_an_evaluation_writes_the_mean_return_and_its_interval(tmp_path, checkpoint):
    outputs = Outputs(tmp_path / "results.json", tmp_path / "episodes", tmp_path / "rollouts")
    with simulators_in_process():
        results = evaluate(checkpoint, "dmc", config=CONFIG, outputs=outputs)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    block = results["tasks"]["reacher-easy"]
    returns = [episode["total_reward"] for episode in results["episodes"]]
    assert results["score"] == "return"
    assert (block["return"], block["return_ci95"]) == (MeanReturn.of(returns).mean, [*MeanReturn.of(returns).interval])
    assert not any(episode["success"] for episode in results["episodes"])
    assert {episode["steps"] for episode in results["episodes"]} == {12}
    assert results["simulator"]["action_repeat"] == 2
    assert "dm-control" in results["versions"]
    recorded = open_dataset(tmp_path / "episodes")
    assert recorded.recording["action_repeat"] == 2
    assert len(recorded) == 3

    table = score_table(results)
    assert table[1].split() == ["reacher-easy", f"{block['return']:.1f}", *table[1].split()[2:]]
    clips = json.loads((tmp_path / "rollouts" / "index.json").read_text())
    assert sorted(clip["return"] for clip in clips) == sorted([min(returns), max(returns)])
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert "Return by task" in page
    assert "mean return over 1 task" in page
    assert "success" not in page.split("<body>")[1].split("<h2>Do it again")[0].lower()
    with pytest.raises(ValueError, match="is scored by the return, beside which no baseline is shown"):
        write_report(tmp_path, tmp_path / "report.html", baselines={"blind": tmp_path})
    comparison = compare_evaluations(tmp_path / "results.json", tmp_path / "results.json")
    assert comparison["all"]["a"] == comparison["all"]["b"] == pytest.approx(results["mean"]["return"])
    assert (comparison["all"]["p_value"], comparison["all"]["pairs"]) == (1.0, 3)


def test_tasks_of_different_sizes_are_not_mixed(checkpoint):
    with pytest.raises(ValueError, match=r"reacher-easy has 6 .* and walker-walk has 24 .* one at a time$"):
        evaluate_checkpoint(checkpoint, REACHER, ("reacher-easy", "walker-walk"), CONFIG)


def test_a_policy_of_another_task_is_refused_by_its_sizes(checkpoint):
    message = "made for dmc_reacher-easy with 6 state and 2 action dimensions, but DeepMind Control's has 24 and 6"
    with pytest.raises(ValueError, match=message):
        evaluate(checkpoint, "dmc", ["walker-walk"], CONFIG)


def test_other_simulators_say_nothing_of_returns_and_of_these_packages():
    assert MetaWorldConfig.score == "success"
    assert MetaWorldConfig.packages == ()


def test_the_highest_and_the_lowest_return_of_each_task_are_filmed():
    played = [episode("a", 2), episode("a", 1), episode("b", 5), episode("a", 3)]
    assert [result.total_reward for result in choose_episodes(played, "return")] == [1, 5, 3]
