"""An option or a key by another command's or codebase's name is answered with this command's own."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("command", "option", "meant"),
    [
        ("train vla", "steps", "train_steps"),
        ("train vla", "lr", "learning_rate"),
        ("train vla", "epochs", "num_epochs"),
        ("train vla", "n_episodes", "demos_per_task"),
        ("train vla", "chunk_size", "action_horizon"),
        ("train vla", "model.chunk_size", "model.action_horizon"),
        ("train vla", "resume", "checkpoint"),
        ("train vla", "policy.path", "checkpoint"),
        ("train vla", "output", "out"),
        ("train vla", "data", "dataset"),
        ("train smolvla", "model.action_horizon", "model.chunk_size"),
        (
            "train statevla",
            "lr",
            "training.learning_rate or --training.phase1.learning_rate or --training.phase2.learning_",
        ),
        ("train statevla", "train_step", "training.train_steps or --training.phase1.train_steps or --training.phase2."),
        ("train vla", "batch_sise", "batch_size"),
        ("train instruct", "data.data_directory", "data.dataset"),
        ("eval metaworld", "task", "tasks"),
        ("eval metaworld", "n_episodes", "episodes"),
        ("eval metaworld", "steps", "max_steps"),
        ("eval metaworld", "policy", "checkpoint"),
        ("eval metaworld", "out", "json"),
        ("eval metaworld", "horizon", "execution_horizon"),
        ("eval libero", "task_suite_name", "suite"),
        ("eval offline", "data_directory", "dataset"),
        ("collect metaworld", "num_envs", "workers"),
        ("diagnose memory", "ckpt", "checkpoint"),
        ("demo", "steps", "phase1_steps or --phase2_steps"),
        ("demo", "episodes", "demonstrations or --evaluation_episodes"),
    ],
)
def test_an_option_of_another_command_is_answered_with_this_ones(fails, command, option, meant):
    assert f"did you mean --{meant}" in fails(*command.split(), f"--{option}", "3")


def test_each_of_several_unknown_options_is_answered(fails):
    line = fails("collect", "metaworld", "--task", "push-v3", "--n_episodes", "3")
    assert "; for --task, did you mean --tasks?; for --n_episodes, did you mean --episodes?; see" in line


def test_what_a_command_takes_without_an_option_is_said_so(fails):
    assert fails("data", "inspect", "--dataset", "x").startswith(
        "unrecognized arguments: --dataset; give ROOT without --"
    )
    assert "; give SRC without --dataset; see" in fails("data", "convert", "--dataset", "x")


def test_an_option_that_takes_one_value_has_no_keys(fails):
    line = fails("train", "vla", "--dataset.repo_id", "lerobot/pusht")
    assert line.startswith("\"data.data_directory\": is one value and has no key 'repo_id'; give the value itself; see")


@pytest.mark.parametrize(
    ("option", "dest"), [("out", "out"), ("output-dir", "out"), ("checkpoint", "checkpoint"), ("json", "json")]
)
def test_an_option_of_one_text_is_not_given_by_a_key_below_it(fails, option, dest):
    line = fails("train", "vla", f"--{option}.x", "3")
    assert line.startswith(f"\"{dest}\": is one value and has no key 'x'; give the value itself; see")


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("model.contxt.memory.kind", "model.context.memory.kind"),
        ("context.memory.kind", "model.context.memory.kind"),
        ("topk", "model.context.retrieval.top_k"),
    ],
)
def test_an_option_within_a_value_is_found_by_its_whole_name(fails, option, meant):
    assert f"; did you mean --{meant}?; see" in fails("train", "vla", f"--{option}", "3")


def test_what_is_like_nothing_gets_no_answer(fails):
    assert fails("train", "vla", "--wandb", "x") == "unrecognized arguments: --wandb x; see `tempovla train vla --help`"


@pytest.mark.parametrize(
    ("system", "config", "meant"),
    [
        ("vla", "lr: 3", "training.learning_rate"),
        ("vla", "batch_size: 3", "training.batch_size"),
        ("vla", "output: x", "out"),
        ("vla", "training: {steps: 3}", "training.train_steps"),
        ("vla", "model: {chunk_size: 3}", "model.action_horizon"),
        ("vla", "data: {dataset: x}", "data.data_directory"),
        ("vla", "model: {vlm: {vision: {resolution: 3}}}", "model.vlm.vision.image_size"),
        ("smolvla", "model: {action_horizon: 3}", "model.chunk_size"),
        ("statevla", "training: {epochs: 3}", "training.num_epochs"),
        ("statevla", "training: {phase1: {steps: 3}}", "training.phase1.train_steps"),
    ],
)
def test_a_key_of_another_system_is_answered_with_this_ones_by_its_full_name(tmp_path, fails, system, config, meant):
    path = tmp_path / "mine.yaml"
    path.write_text(config)
    line = fails("train", system, "--config", path)
    assert line.startswith(f"{path}: ")
    assert f"; did you mean {meant}?; see" in line
