"""Evaluating a checkpoint, with the simulator stood in for; tests/unit/cli evaluates in the real one."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny import tiny_recipe

pytest.importorskip("metaworld")

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import open_dataset
from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.env.memory import MemoryConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.metaworld_tasks import INSTRUCTIONS
from tempovla.env.seeding import episode_seed
from tempovla.model.vla.statevla import StateVLA
from tempovla.recipe.evaluation import closed_loop
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.rollout.metrics import wilson_interval
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline import Bundle
from tempovla.timeline.bundle import bundle_sha256
from tempovla.timeline.config import config_to_json

METAWORLD = MetaWorldConfig()
CONFIG = EvaluationConfig(episodes=4, seed=3)
TASKS = ("push-v3", "reach-v3")
CAMERAS = ("observation.images.corner", "observation.images.gripperPOV")


@pytest.fixture
def checkpoint(tmp_path):
    config = replace(tiny_recipe("").model, cameras=CAMERAS, robot_state_dim=4, action_dim=4)
    policy = StateVLA(config)
    arguments = (config_to_json(config), policy.windows(), METAWORLD_SAWYER, {"steps": []}, policy.state_dict())
    Bundle("statevla", *arguments, {"phase": 2}).save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def asked(monkeypatch):
    """What the simulator was asked for. Of each task it solves all episodes but the first."""
    seen = {"policy_s": 0.01}

    def run_specs(controller, specs, env_config, config, on_end):
        seen.update(specs=specs, env_config=env_config, config=config)
        seen["kept"] = []
        first = {episode_seed("evaluate", config.seed, task, 0) for task in TASKS}
        for spec in specs:
            arrays = {"observation.state": np.zeros((3, 4), np.float32), "action": np.ones((3, 4), np.float32)}
            recording = arrays if spec.record else None
            result = EpisodeResult(
                *(spec, spec.instruction, spec.seed not in first, 3, 1.5, recording),
                policy_calls=2,
                policy_s=seen["policy_s"],
            )
            if len(seen["kept"]) == seen.get("killed_after"):
                raise KeyboardInterrupt
            seen["kept"].append(on_end(result))
        return seen["kept"]

    monkeypatch.setattr(closed_loop, "run_specs", run_specs)
    return seen


def test_results_count_by_task_and_over_all(tmp_path, checkpoint, asked):
    path = tmp_path / "deep" / "down" / "results.json"
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(results=path))
    assert json.loads(path.read_text()) == json.loads(json.dumps(results))
    assert list(results["tasks"]) == list(TASKS)
    block = results["tasks"]["push-v3"]
    assert (block["success"], block["episodes"], block["ci95"]) == (0.75, 4, list(wilson_interval(3, 4)))
    assert block["instruction"] == INSTRUCTIONS["push-v3"]
    assert (results["mean"]["success"], results["mean"]["episodes"]) == (0.75, 8)
    assert results["seed"] == 3
    assert results["checkpoint_sha256"] == bundle_sha256(checkpoint)
    assert [episode["steps"] for episode in results["episodes"]] == [3] * 8


def test_the_cameras_drawn_are_those_of_the_policy(checkpoint, asked):
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG)
    assert asked["env_config"].cameras == ("corner", "gripperPOV")
    assert not any(spec.record for spec in asked["specs"])


@pytest.mark.parametrize("instruction", ["turn around", ""])
def test_an_instruction_is_told_and_reported_in_place_of_the_tasks_own(checkpoint, asked, instruction):
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, instruction=instruction)
    assert {spec.instruction for spec in asked["specs"]} == {instruction}
    assert {block["instruction"] for block in results["tasks"].values()} == {instruction}


def test_an_instruction_by_task_leaves_the_other_tasks_their_own(checkpoint, asked):
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, instruction={"push-v3": "pull"})
    told = {"push-v3": "pull", "reach-v3": INSTRUCTIONS["reach-v3"]}
    assert {(spec.task, spec.instruction) for spec in asked["specs"]} == {*told.items()}
    assert {task: block["instruction"] for task, block in results["tasks"].items()} == told


def test_a_blind_policy_needs_no_pictures_and_its_results_say_the_same(tmp_path, checkpoint, asked):
    sighted = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG)
    assert asked["env_config"].render
    blank = {"name": "blank_images", "cameras": [*CAMERAS], "size": 16}
    replace(Bundle.load(checkpoint), transform={"steps": [blank]}).save(checkpoint)
    blind = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG)
    assert not asked["env_config"].render
    assert blind == sighted | {"checkpoint_sha256": bundle_sha256(checkpoint)}
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(recordings=tmp_path / "rollouts"))
    assert asked["env_config"].render  # what is recorded is drawn


def test_recordings_show_further_cameras_beside_those_of_the_policy(tmp_path, checkpoint, asked):
    further = (CAMERAS[0].removeprefix("observation.images."), "behindGripper")
    outputs = Outputs(recordings=tmp_path / "rollouts", cameras=further)
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
    drawn = asked["env_config"].cameras
    assert drawn == (*(camera.removeprefix("observation.images.") for camera in CAMERAS), "behindGripper")


def test_threads_are_as_before_after_an_evaluation(checkpoint, asked):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        asked["killed_after"] = 0
        with pytest.raises(KeyboardInterrupt):
            evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG)
        assert torch.get_num_threads() == before + 1
        assert not torch.backends.cudnn.deterministic
    finally:
        torch.set_num_threads(before)


def test_the_wrong_instruction_is_told_and_reported_and_success_counted_on_the_scenes_own_task(
    tmp_path, checkpoint, asked, monkeypatch
):
    filmed = []
    monkeypatch.setattr(closed_loop, "film_episodes", lambda *arguments: filmed.append(arguments[-2]))
    outputs = Outputs(videos=tmp_path)
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, wrong_instruction=True, outputs=outputs)
    push, reach = (INSTRUCTIONS[task] for task in TASKS)
    assert {(spec.task, spec.instruction) for spec in asked["specs"]} == {(TASKS[0], reach), (TASKS[1], push)}
    assert [block["instruction"] for block in results["tasks"].values()] == [reach, push]
    assert [(block["success"], block["episodes"]) for block in results["tasks"].values()] == [(0.75, 4)] * 2
    assert results["summary"].endswith(", told to do another task.")
    assert filmed == ["wrong_instruction"]


def test_an_object_that_is_moved_is_in_the_sentence_about_the_evaluation(checkpoint, asked):
    config = replace(CONFIG, disturb_step=5)
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS[:1], config)
    assert results["simulator"]["disturbance"] == {"step": 5, "shift_m": 0.05}
    start = "4 episodes of one task of Meta-World, from initial states drawn at random"
    assert results["summary"] == f"{start}, with the task's object moved by 0.05 m after 5 control steps."
    never = replace(CONFIG, disturb_step=20, max_steps=8)
    with pytest.raises(ValueError, match="disturb_step=20 is never reached"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS[:1], never)


def test_a_task_alone_is_told_another_of_the_simulators_one_that_the_policy_knows_if_any(checkpoint, asked, caplog):
    alone = ("push-v3",)
    results = evaluate_checkpoint(checkpoint, METAWORLD, alone, CONFIG, wrong_instruction=True)
    assert results["tasks"]["push-v3"]["instruction"] == INSTRUCTIONS[METAWORLD.task_names()[0]]
    trained = [INSTRUCTIONS["push-v3"], INSTRUCTIONS["window-open-v3"]]
    replace(Bundle.load(checkpoint), provenance={"phase": 2, "instructions": trained}).save(checkpoint)
    results = evaluate_checkpoint(checkpoint, METAWORLD, alone, CONFIG, wrong_instruction=True)
    assert results["tasks"]["push-v3"]["instruction"] == INSTRUCTIONS["window-open-v3"]
    assert caplog.messages == []


def test_words_that_were_not_in_training_are_said(checkpoint, asked, caplog):
    trained = [INSTRUCTIONS["push-v3"]]
    replace(Bundle.load(checkpoint), provenance={"phase": 2, "instructions": trained}).save(checkpoint)
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG)
    assert caplog.messages == [f"the policy was never told {INSTRUCTIONS['reach-v3']!r} in training"]


def test_an_instruction_is_given_or_wrong_but_not_both(checkpoint, asked):
    with pytest.raises(ValueError, match="instruction 'open it' and wrong_instruction exclude each other"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, instruction="open it", wrong_instruction=True)
    assert "specs" not in asked


@pytest.mark.parametrize(("asked_for", "stride", "resolved"), [(None, None, 4), (3, None, 3), (None, 3, 3), (3, 3, 3)])
def test_the_execution_horizon_that_was_taken_is_what_results_say(
    checkpoint, asked, monkeypatch, asked_for, stride, resolved
):
    monkeypatch.setattr(StateVLA, "frame_stride", stride, raising=False)
    results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, replace(CONFIG, execution_horizon=asked_for))
    assert results["execution_horizon"] == asked["config"].execution_horizon == resolved


def test_another_execution_horizon_than_the_policys_stride_is_refused_at_once(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(StateVLA, "frame_stride", 3, raising=False)
    outputs = Outputs(results=tmp_path / "deep" / "results.json")
    with pytest.raises(ValueError, match=r"^execution_horizon=4 is not the policy's frame_stride=3, .*; leave"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, replace(CONFIG, execution_horizon=4), outputs=outputs)
    assert not (tmp_path / "deep").exists()


def test_more_than_the_chunk_is_refused_before_anything_is_written(tmp_path, checkpoint, asked):
    outputs = Outputs(results=tmp_path / "deep" / "results.json")
    with pytest.raises(ValueError, match=r"^execution_horizon=5 exceeds the policy's chunk of 4; give 4 at the most"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, replace(CONFIG, execution_horizon=5), outputs=outputs)
    assert not (tmp_path / "deep").exists()
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
    assert json.loads((tmp_path / "deep" / "results.json").read_text())["execution_horizon"] == 4


def test_outputs_that_cannot_be_written_are_refused_before_hours_of_episodes(tmp_path, checkpoint, asked, monkeypatch):
    (tmp_path / "notes").write_text("mine")
    for outputs, said in (
        (Outputs(results=tmp_path), r"a folder, but the results are a file; give .*results\.json"),
        (Outputs(results=tmp_path / "notes" / "results.json"), r"notes: a file, so the results results\.json cannot"),
        (Outputs(recordings=tmp_path / "notes"), "notes: a file, so the recordings cannot be written into"),
        (Outputs(videos=tmp_path / "notes" / "videos"), "notes: a file, so the videos cannot be written into"),
    ):
        with pytest.raises(ValueError, match=said):
            evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
    monkeypatch.setattr("tempovla.storage.writable.TemporaryFile", read_only)
    with pytest.raises(ValueError, match=r"cannot be written \(Read-only file system\), so the results r\.json would"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(results=tmp_path / "a" / "r.json"))
    assert "specs" not in asked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "notes"]


def read_only(dir: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_call_that_failed_blocks_no_other(tmp_path, checkpoint, asked):
    """Neither at its first episode, nor with a success before, nor with a recording."""
    outputs = Outputs(results=tmp_path / "out" / "results.json")
    recorded = Outputs(recordings=tmp_path / "rollouts")
    asked["killed_after"] = 0
    for target in (outputs, recorded):
        with pytest.raises(KeyboardInterrupt):
            evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=target)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "rollouts").exists()
    del asked["killed_after"]
    other = replace(CONFIG, execution_horizon=2, max_steps=9)
    for target in (outputs, outputs, recorded):
        results = evaluate_checkpoint(checkpoint, METAWORLD, TASKS, other, outputs=target)
        assert results["execution_horizon"] == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.json", "results.timing.json"]


@pytest.mark.parametrize(("asked_for", "stride", "resolved"), [(None, None, 4), (3, None, 3), (None, 9, 9)])
def test_a_chunk_that_carries_the_cue_is_refused_whoever_chose_its_length(
    checkpoint, asked, monkeypatch, asked_for, stride, resolved
):
    monkeypatch.setattr(StateVLA, "frame_stride", stride, raising=False)
    config = replace(CONFIG, execution_horizon=asked_for)
    with pytest.raises(
        ValueError, match=rf"execution_horizon={resolved} is more than delay_steps \+ 1 = {resolved - 1}"
    ):
        evaluate_checkpoint(checkpoint, MemoryConfig(delay_steps=resolved - 2), ["colour-cue"], config)
    assert "specs" not in asked


def test_recordings_go_to_the_disk_and_not_into_memory(tmp_path, checkpoint, asked):
    evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(recordings=tmp_path / "rollouts"))
    source = open_dataset(tmp_path / "rollouts")
    assert (len(source), source.episode(0).length) == (8, 3)
    assert source.episode(4).instruction == INSTRUCTIONS["reach-v3"]
    assert all(result.recording is None for result in asked["kept"])
    asked.pop("specs")
    with pytest.raises(DatasetError, match="not empty, and nothing is overwritten"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(recordings=tmp_path / "rollouts"))
    assert "specs" not in asked
    assert source.recording == {"simulator": "metaworld", "image_size": 64, "supersample": 2, "mesh_cell_m": 0.015}


def test_the_same_seeds_give_the_same_file_and_times_go_beside_it(tmp_path, checkpoint, asked):
    for name, policy_s in (("slow", 0.03), ("fast", 0.01)):
        asked["policy_s"] = policy_s
        outputs = Outputs(results=tmp_path / name / "results.json")
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    assert (slow / "results.json").read_bytes() == (fast / "results.json").read_bytes()
    timing = json.loads((slow / "results.timing.json").read_text())
    assert timing["policy_latency_ms"] == {"mean": 15.0, "median": 15.0, "max": 15.0}
    assert {"cpu_seconds", "wall_seconds", "command", "machine", "workers", "num_envs"} <= set(timing)
    episodes = json.loads((slow / "results.json").read_text())["episodes"]
    for episode, times in zip(episodes, timing["episodes"], strict=True):
        assert (times["task"], times["seed"]) == (episode["task"], episode["seed"])
        assert (times["policy_calls"], times["policy_latency_ms"]) == (2, 15.0)


def test_more_episodes_than_initial_states_are_refused_at_once(checkpoint, asked):
    with pytest.raises(ValueError, match="push-v3: the benchmark has 0 initial states, but 4 episodes are asked for"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, init_states="benchmark")
    assert "specs" not in asked


def test_a_killed_evaluation_goes_on_and_its_file_is_that_of_an_uninterrupted_one(tmp_path, checkpoint, asked):
    def evaluate(name):
        outputs = Outputs(results=tmp_path / name / "results.json")
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
        return (tmp_path / name / "results.json").read_bytes()

    asked["killed_after"] = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate("killed")
    partial = tmp_path / "killed" / "results.partial.jsonl"
    with partial.open("a") as file:
        file.write('{"spec": {"task": "re')  # a kill in the midst of writing
    everything = asked.pop("specs")
    asked["killed_after"] = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate("killed")
    assert asked["specs"] == everything[3:]
    del asked["killed_after"]
    gone_on_with = evaluate("killed")
    assert asked["specs"] == everything[7:]
    assert not partial.exists()
    assert json.loads((tmp_path / "killed" / "results.timing.json").read_text())["episodes_of_an_earlier_call"] == 7
    assert gone_on_with == evaluate("whole")


def test_a_killed_evaluation_that_records_goes_on_with_the_episodes_that_journal_and_dataset_have(
    tmp_path, checkpoint, asked, monkeypatch
):
    def evaluate(name):
        outputs = Outputs(results=tmp_path / name / "results.json", recordings=tmp_path / name / "rollouts")
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
        return (tmp_path / name / "results.json").read_bytes()

    add = RolloutRecorder.add

    def killed_before_third(recorder, result):
        if recorder._writer is not None and len(recorder._writer) == 2:
            raise KeyboardInterrupt
        add(recorder, result)

    monkeypatch.setattr(RolloutRecorder, "add", killed_before_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate("killed")
    partial = tmp_path / "killed" / "results.partial.jsonl"
    assert len(partial.read_text().splitlines()) == 1 + 3  # the third is in the journal alone
    monkeypatch.setattr(RolloutRecorder, "add", add)
    everything = asked.pop("specs")
    asked["killed_after"] = 4
    with pytest.raises(KeyboardInterrupt):
        evaluate("killed")
    assert asked["specs"] == everything[2:]
    asked["killed_after"] = 9
    with pytest.raises(ValueError, match=r"results\.partial\.jsonl: keeps episodes of another .*\(recordings was "):
        evaluate_checkpoint(
            checkpoint, METAWORLD, TASKS, CONFIG, outputs=Outputs(results=tmp_path / "killed" / "results.json")
        )
    gone_on_with = evaluate("killed")
    assert asked["specs"] == everything[6:]
    assert not partial.exists()
    source = open_dataset(tmp_path / "killed" / "rollouts")
    assert [source.episode(index).length for index in range(len(source))] == [3] * 8
    assert [source.episode(index).instruction for index in (3, 4)] == [INSTRUCTIONS[task] for task in TASKS]
    with pytest.raises(DatasetError, match="not empty, and nothing is overwritten"):
        evaluate("killed")
    assert gone_on_with == evaluate("whole")


def test_episodes_of_other_weights_are_not_taken_over(tmp_path, checkpoint, asked):
    outputs = Outputs(results=tmp_path / "results.json")
    asked["killed_after"] = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
    bundle = Bundle.load(checkpoint)
    replace(bundle, weights={name: weight + 1 for name, weight in bundle.weights.items()}).save(checkpoint)
    with pytest.raises(ValueError, match=r"results.partial.jsonl: keeps episodes of another checkpoint.*sha256 was"):
        evaluate_checkpoint(checkpoint, METAWORLD, TASKS, CONFIG, outputs=outputs)
