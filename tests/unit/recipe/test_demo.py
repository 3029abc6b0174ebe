"""The demo's settings and results, without running it; tests/e2e runs it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("metaworld")

from tempovla.env.metaworld import DEMONSTRATION_STEPS
from tempovla.env.metaworld_tasks import INSTRUCTIONS
from tempovla.recipe import demo as demo_module
from tempovla.recipe.demo import EASY_TASKS, HARD_TASK, Demo, DemoConfig, demo_recipe
from tempovla.report.page import write_report
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.rollout.metrics import wilson_interval

SUCCESSES = {"policy": 9, "blind": 4, "wrong_instruction": 1}
"""Of ten episodes, in every task."""


def evaluated(demo: Demo) -> Demo:
    """The demo after its evaluations, as their files tell."""
    for name, successes in SUCCESSES.items():
        rows = [
            {"task": task, "seed": seed, "instruction": "", "success": seed < successes, "steps": 50}
            for task in demo.config.tasks
            for seed in range(10)
        ]
        (demo.out_dir / f"evaluation_{name}.json").write_text(json.dumps(rows))
    with demo.stages.stage("collect"):
        pass
    return demo


def test_results_hold_what_was_promised(tmp_path):
    demo = evaluated(Demo(DemoConfig(seed=7), tmp_path))
    results = json.loads(json.dumps(demo._results()))
    assert {"tasks", "mean", "cpu_seconds", "wall_seconds", "seed", "versions", "command", "machine"} <= set(results)
    assert list(results["tasks"]) == [*EASY_TASKS, HARD_TASK]
    block = results["tasks"]["push-v3"]
    assert (block["success"], block["blind"], block["wrong_instruction"]) == (0.9, 0.4, 0.1)
    assert (block["episodes"], block["ci95"]) == (10, list(wilson_interval(9, 10)))
    assert block["instruction"] == INSTRUCTIONS["push-v3"]
    mean = results["mean"]
    assert mean["tasks"] == list(EASY_TASKS)
    assert (mean["success"], mean["episodes"], mean["ci95"]) == (0.9, 40, list(wilson_interval(36, 40)))
    assert results["seed"] == 7
    assert [stage["name"] for stage in results["stages"]] == ["collect"]


def test_the_report_reads_the_results(tmp_path):
    demo = evaluated(Demo(DemoConfig(), tmp_path))
    (tmp_path / "results.json").write_text(json.dumps(demo._results()))
    page = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert "StateVLA on Meta-World" in page
    assert "90" in page


def test_the_wrong_instruction_is_always_another_tasks(tmp_path):
    for number, tasks in enumerate([(*EASY_TASKS, HARD_TASK), EASY_TASKS[:2], EASY_TASKS[:1], (HARD_TASK,)]):
        demo = Demo(DemoConfig(tasks=tasks), tmp_path / str(number))
        told = demo._instructions("wrong_instruction")
        assert set(told) == set(tasks)
        assert all(told[task] != INSTRUCTIONS[task] for task in tasks)
        if len(tasks) > 1:
            assert set(told.values()) == {INSTRUCTIONS[task] for task in tasks}
        assert demo._instructions("policy") == demo._instructions("blind") == {}


def test_it_evaluates_as_eval_does_and_films_the_policy(tmp_path, monkeypatch):
    asked = []

    def evaluate_checkpoint(checkpoint, env_config, tasks, config, **options):
        asked.append((checkpoint.parts[-3], env_config.max_steps, tasks, config, options))
        episodes = [{"task": task, "success": True} for task in tasks]
        return {"tasks": {task: {"success": 1.0} for task in tasks}, "episodes": episodes}

    monkeypatch.setattr(demo_module, "evaluate_checkpoint", evaluate_checkpoint)
    demo = Demo(DemoConfig(tasks=EASY_TASKS[:2], evaluation_episodes=3, seed=5, workers=1), tmp_path)
    for name in ("policy", "wrong_instruction", "blind"):
        demo._evaluate(name)
        assert [episode["task"] for episode in demo._episodes(name)] == [*EASY_TASKS[:2]]
    assert [call[0] for call in asked] == ["train", "train", "train_blind"]
    assert {call[1:4] for call in asked} == {
        (DEMONSTRATION_STEPS, EASY_TASKS[:2], EvaluationConfig(episodes=3, seed=5, workers=1))
    }
    assert [call[4]["outputs"].videos for call in asked] == [tmp_path / "rollouts", None, None]
    assert [call[4]["instruction"] for call in asked] == [{}, demo._instructions("wrong_instruction"), {}]
    assert {call[4]["device"] for call in asked} == {"cpu"}


@pytest.mark.parametrize(("stopped_before", "films"), [("film", 1), ("the end", 0)])
def test_a_demo_of_an_earlier_version_that_was_stopped_before_it_filmed_films(
    tmp_path, monkeypatch, stopped_before, films
):
    """It had a stage of its own for that."""
    demo = evaluated(Demo(DemoConfig(), tmp_path))
    stages = ["collect", "train", "train_blind", "evaluate_policy", "evaluate_wrong_instruction", "evaluate_blind"]
    for name in [*stages, *(["film"] if stopped_before == "the end" else [])]:
        if not demo.stages.is_done(name):
            with demo.stages.stage(name):
                pass
    evaluations = []
    monkeypatch.setattr(demo, "_evaluate", evaluations.append)
    demo.run()
    assert evaluations == ["policy"] * films


def test_the_blind_policy_differs_in_its_pictures_alone():
    sighted, blind = (demo_recipe(DemoConfig(), blind=blind) for blind in (False, True))
    assert (sighted.transform.blind, blind.transform.blind) == (False, True)
    assert (sighted.model, sighted.training, sighted.data) == (blind.model, blind.training, blind.data)


@pytest.mark.parametrize("text", ["", "{", "3", "[3]", '[{"task": "push-v3"}]'])
def test_a_damaged_evaluation_is_refused_with_its_name(tmp_path, text):
    demo = Demo(DemoConfig(), tmp_path)
    path = tmp_path / "evaluation_policy.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path}: .*; remove it, and evaluate_policy from stages.json"):
        demo._episodes("policy")


def test_a_folder_belongs_to_one_demo(tmp_path):
    Demo(DemoConfig(seed=3), tmp_path)
    Demo(DemoConfig(seed=1), tmp_path)  # the other has left nothing yet
    (tmp_path / "dataset" / "data").mkdir(parents=True)
    Demo(DemoConfig(seed=1), tmp_path)
    told = r"begun with --seed 1 \(.*demo.json\), not --seed 2; give --seed 1 to go on with it, or another folder with"
    with pytest.raises(ValueError, match=told):
        Demo(DemoConfig(seed=2), tmp_path)
    with pytest.raises(ValueError, match=r"begun with --tasks button-press-.*,push-v3 .*, not --tasks push-v3; give"):
        Demo(DemoConfig(tasks=("push-v3",), seed=1), tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ("fly-v3",)}, "no Meta-World task 'fly-v3'"),
        ({"tasks": ("push-v3", "push-v3")}, "must name at least one task, and none twice"),
        ({"tasks": ()}, "must name at least one task"),
        ({"evaluation_episodes": 0}, "evaluation_episodes=0 must be at least 1"),
    ],
)
def test_impossible_demos_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DemoConfig(**options)
