"""A world model is learned while its policy acts; a run that stops goes on bit for bit, in the middle of an episode."""

from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trained import assert_same, logged

import tempovla
import tempovla.recipe.evaluation.simulators
from tempovla.data.replay import ReplaySource
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.tdmpc import TDMPC
from tempovla.model.vla.tdmpc_config import TDMPCConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.recipe.systems.world_model import train_world_model
from tempovla.recipe.systems.world_model_config import OnlineConfig, WorldModelRecipe, WorldModelTraining
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline import Bundle
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.interrupt import TrainingInterrupted

pytest.importorskip("dm_control")
gymnasium = pytest.importorskip("gymnasium")

LENGTH, UPDATES, SAVED = 40, 60, 23
"""Control steps of an episode, updates of a run, and the update after which a checkpoint is saved: in an episode."""
LATE = f"checkpoints/step_{2 * SAVED:08d}"
"""One that was saved near the end, behind all episodes."""
TIMES = ("samples_per_s", "cpu_s")


def recipe_of(task: str = "cartpole-swingup", **training: Any) -> WorldModelRecipe:
    """Sixty updates of a tiny model, after a hundred steps at random."""
    sizes = {"latent_dim": 16, "group_dim": 4, "encoder_dim": 8, "hidden_dim": 16, "num_values": 3, "bins": 11}
    planner = PlannerConfig(num_samples=16, num_elites=4, iterations=2, num_policy_samples=4)
    settings = {"train_steps": UPDATES, "batch_size": 8, "log_interval": 10, "save_interval_steps": SAVED}
    return WorldModelRecipe(
        online=OnlineConfig(env="dmc", task=task, settings={"max_steps": LENGTH}, seed_steps=100, pretrain_updates=10),
        model=WorldModelConfig(planner=planner, tdmpc=TDMPCConfig(dynamics=LatentDynamicsConfig(**sizes))),
        training=WorldModelTraining(**settings | {"keep_every": SAVED} | training),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing interrupts."""
    run = tmp_path_factory.mktemp("world") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        train_world_model(recipe_of(), run)
    return run


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser, figures, the episode that is being played and those that were are the same bits."""
    left, right = (Checkpoint.load(run / "checkpoint_latest") for run in (one, other))
    assert_same(dict(right.tensors), dict(left.tensors))
    assert right.record["batches"] == left.record["batches"]
    assert (other / "episodes.jsonl").read_text() == (one / "episodes.jsonl").read_text()
    lines = [[{k: v for k, v in line.items() if k not in TIMES} for line in logged(run)] for run in (one, other)]
    assert lines[0] == lines[1]


def test_a_run_acts_as_often_as_its_schedule_says(whole):
    record = Checkpoint.load(whole / "checkpoint_latest").record["batches"]
    assert record["taken"] == UPDATES
    assert record["experience"]["steps"] == 100 + UPDATES - 10
    lines = [json.loads(line) for line in (whole / "episodes.jsonl").read_text().splitlines()]
    assert [(line["episode"], line["steps"], line["length"]) for line in lines] == [
        (0, 40, 40),
        (1, 80, 40),
        (2, 120, 40),
    ]
    told = [figures for figures in logged(whole) if "episode_return" in figures]
    assert [figures["train_step"] for figures in told] == [10, 30]
    assert {line["success"] for line in lines} == {None}  # DeepMind Control knows no success
    assert told[0]["episode_return"] == pytest.approx((lines[0]["return"] + lines[1]["return"]) / 2)
    assert [figures["control_steps"] for figures in logged(whole)] == [100, 110, 120, 130, 140, 150]
    with ReplaySource.open(whole / "replay", read_only=True) as replay:
        assert len(replay) == 3
        assert replay.facts["task"] == "cartpole-swingup"
        returns = [float(replay.read(episode, "next.reward", range(LENGTH)).value.sum()) for episode in range(3)]
    assert returns == pytest.approx([line["return"] for line in lines], rel=1e-5)


def test_a_run_that_goes_on_in_the_middle_of_an_episode_is_the_same_bit_for_bit(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    train_world_model(recipe_of(), tmp_path / "run", resume=tmp_path / f"run/checkpoints/step_{SAVED:08d}")
    assert_same_run(whole, tmp_path / "run")


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path, whole, monkeypatch):
    follow = WorldModelPolicy.after_step

    def after_step(policy: WorldModelPolicy, done: int) -> None:
        follow(policy, done)
        if done == 37:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(WorldModelPolicy, "after_step", after_step)
        with pytest.raises(TrainingInterrupted):
            train_world_model(recipe_of(), tmp_path / "run")
    train_world_model(recipe_of(), tmp_path / "run", resume=tmp_path / "run/checkpoint_latest")
    assert_same_run(whole, tmp_path / "run")


def test_the_policy_does_not_explore_in_each_of_some_episodes(tmp_path, monkeypatch):
    called: list[tuple[str, bool]] = []

    def counted(name: str) -> Any:
        method = getattr(TDMPC, name)

        def call(self: TDMPC, *arguments: Any) -> Any:
            called.append((name, self.training))
            return method(self, *arguments)

        return call

    for name in ("act", "explore"):
        monkeypatch.setattr(TDMPC, name, counted(name))
    recipe = recipe_of(train_steps=80)
    train_world_model(replace(recipe, online=replace(recipe.online, greedy_every=2)), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/episodes.jsonl").read_text().splitlines()]
    assert [line["explored"] for line in lines] == [True, True, True, False]  # the second was drawn at random
    assert called == [("explore", False)] * 20 + [("act", False)] * 40 + [("explore", False)] * 10


def test_an_attempt_that_saved_nothing_begins_anew(tmp_path, whole):
    shutil.copytree(whole / "replay", tmp_path / "run/replay")
    (tmp_path / "run/replay/.lock").unlink(missing_ok=True)
    shutil.copy(whole / "episodes.jsonl", tmp_path / "run")
    train_world_model(recipe_of(), tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")


def test_a_run_that_lost_the_link_to_its_latest_checkpoint_keeps_its_replay(tmp_path, whole):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    (run / "checkpoint_latest").unlink()
    with pytest.raises(ValueError, match="holds a run with checkpoints up to step 60; resume from"):
        train_world_model(recipe_of(), run)
    (run / "checkpoint_latest").unlink()
    train_world_model(recipe_of(), run, resume=run / LATE)
    assert_same_run(whole, run)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "seed_steps",
            120,
            r"online\.seed_steps=120 was 100 when the checkpoint was saved; go on with that, or start a",
        ),
        ("pretrain_updates", 0, r"online\.pretrain_updates=0 was 10 "),
        ("updates_per_step", 0.5, r"online\.updates_per_step=0\.5 was 1\.0 "),
        ("greedy_every", 2, r"online\.greedy_every=2 was 0 "),
        ("replay_steps", 30, r"online\.replay_steps=30 was 1000000 "),
        ("settings", {"max_steps": LENGTH, "terminate_on_success": True}, r"online\.settings\.\w+=True was False when"),
    ],
)
def test_a_run_goes_on_with_the_settings_that_it_began_with(tmp_path, whole, name, value, told):
    recipe, run = recipe_of(), tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    with pytest.raises(ValueError, match=told) as refused:
        train_world_model(
            replace(recipe, online=replace(recipe.online, **{name: value})), run, resume=run / "checkpoint_latest"
        )
    assert "\n" not in str(refused.value)
    assert len(ReplaySource.open(run / "replay", read_only=True)) == 3


def test_a_run_does_not_go_on_with_the_replay_of_another(tmp_path, whole):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    shutil.copy(run / "replay/episode_00000000.safetensors", run / "replay/episode_00000001.safetensors")
    with pytest.raises(ValueError, match="episode 1 of the replay is not the one that was last when the checkpoint"):
        train_world_model(recipe_of(), run, resume=run / f"checkpoints/step_{SAVED:08d}")
    assert len(ReplaySource.open(run / "replay", read_only=True)) == 3


def test_lines_about_later_episodes_and_damaged_ones_are_left_out(tmp_path, whole, caplog):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    first, second, third = (run / "episodes.jsonl").read_text().splitlines()
    (run / "episodes.jsonl").write_text(f"{third}\n{first[:20]}\n{second}\n")
    train_world_model(recipe_of(), run, resume=run / f"checkpoints/step_{SAVED:08d}")
    assert (run / "episodes.jsonl").read_text() == f"{second}\n{third}\n"
    assert "episodes.jsonl: left out a line that cannot be read" in caplog.text


def test_the_policy_acts_and_can_be_evaluated(whole):
    policy = tempovla.load(whole / "checkpoint_latest", device="cpu")
    action = policy.step({"observation.state": [0.0, 1.0, 0.0, 0.0, 0.0], "task": "swing up"})
    assert action.shape == (1,)
    assert abs(float(action[0])) <= 1.0


def test_another_search_is_evaluated_without_a_training_and_recorded(whole):
    def results(model: dict[str, Any] | None) -> dict[str, Any]:
        return tempovla.recipe.evaluation.simulators.evaluate(
            whole / "checkpoint_latest",
            "dmc",
            ["cartpole-swingup"],
            EvaluationConfig(episodes=1, max_steps=10, num_envs=1),
            model=model,
        )

    searches = [None, {"planner": {"kind": "cem", "num_samples": 12}}]
    found = [results(model) for model in searches]
    assert [each.get("model") for each in found] == searches
    assert len({each["mean"]["return"] for each in found}) == len(searches)
    assert len({each["checkpoint_sha256"] for each in found}) == 1


@pytest.mark.parametrize(
    ("online", "told"),
    [
        (
            {"task": "cartpole-balance"},
            "holds episodes of task 'cartpole-swingup', not of 'cartpole-balance'; gi",
        ),
        (
            {"settings": {"max_steps": 20, "action_repeat": 4}},
            "holds episodes of settings .*'action_repeat': 2.*, not",
        ),
        (
            {"env": "gym", "task": "Pendulum-v1", "settings": {"max_steps": 20}},
            "holds episodes of simulator 'dmc', not of 'gym'; give another folder",
        ),
    ],
)
def test_the_replay_of_another_task_settings_or_simulator_is_refused_and_stays(tmp_path, whole, online, told):
    shutil.copytree(whole / "replay", tmp_path / "run/replay")
    recipe = recipe_of()
    with pytest.raises(ValueError, match=told) as refused:
        train_world_model(replace(recipe, online=replace(recipe.online, **online)), tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert len(ReplaySource.open(tmp_path / "run/replay", read_only=True)) == 3


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda file: file.write_bytes(file.read_bytes()[:-3]),
            "damaged or cut off .*; restore it from a copy, or remove it and all later episodes",
        ),
        (lambda file: file.unlink(), "is missing, and later episodes are there; restore it from a copy"),
    ],
)
def test_a_run_with_a_damaged_replay_loses_nothing_and_goes_on_once_it_is_mended(tmp_path, whole, damage, told):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    second, resume = run / "replay/episode_00000001.safetensors", run / LATE
    kept = second.read_bytes()
    damage(second)
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file() and path.name != ".lock"}
    with pytest.raises(ValueError, match=rf"episode_00000001\.safetensors: {told}") as refused:
        train_world_model(recipe_of(), run, resume=resume)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in before} == before
    second.write_bytes(kept)
    train_world_model(recipe_of(), run, resume=resume)
    assert_same_run(whole, run)


def test_a_run_does_not_go_on_with_a_replay_of_which_one_bit_differs(tmp_path, whole):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    first = run / "replay/episode_00000000.safetensors"
    found = bytearray(first.read_bytes())
    found[-(3 * LENGTH + 4)] ^= 1  # the last digit of a float, behind which lie three streams of a byte for each step
    first.write_bytes(found)
    with pytest.raises(ValueError, match=r"episode_00000000\.safetensors: damaged, as its contents do not have the ch"):
        train_world_model(recipe_of(), run, resume=run / "checkpoint_latest")
    assert len(ReplaySource.open(run / "replay", read_only=True)) == 3


def test_without_its_later_episodes_a_run_goes_on_from_a_checkpoint_that_was_saved_before_them(tmp_path, whole):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    (run / "replay/episode_00000002.safetensors").unlink()
    told = "saved after 3 episodes, but the replay has 2; .*, or go on from a checkpoint that was saved before$"
    with pytest.raises(ValueError, match=told):
        train_world_model(recipe_of(), run, resume=run / "checkpoint_latest")
    train_world_model(recipe_of(), run, resume=run / f"checkpoints/step_{SAVED:08d}")
    assert_same_run(whole, run)


def test_a_run_without_its_replay_cannot_go_on_and_gets_no_empty_one(tmp_path, whole):
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    shutil.rmtree(run / "replay")
    before = sorted(run.rglob("*"))
    with pytest.raises(ValueError, match=r"replay: holds no replay, without which .*; give the run's own folder, "):
        train_world_model(recipe_of(), run, resume=run / "checkpoint_latest")
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env": "dm"}, "simulator 'dm' is unknown"),
        ({"task": "cartpole-swing"}, "cartpole-swingup"),
        ({"settings": {"action_repet": 2}}, "action_repet"),
    ],
)
def test_a_simulator_that_there_is_not_is_told_with_what_there_is(tmp_path, options, message):
    recipe = recipe_of()
    online = OnlineConfig(**{"env": "dmc", "task": "cartpole-swingup", **options})
    with pytest.raises(ValueError, match=message) as refused:
        train_world_model(WorldModelRecipe(online=online, model=recipe.model), tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_size_that_is_not_the_simulators_is_refused(tmp_path):
    recipe = recipe_of()
    model = WorldModelConfig(robot_state_dim=7)
    with pytest.raises(ValueError, match=r"model.robot_state_dim=7, but cartpole-swingup has 5 dimensions; leave it"):
        train_world_model(WorldModelRecipe(online=recipe.online, model=model), tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_steps": 0}, "online.seed_steps=0 must be at least 1"),
        ({"pretrain_updates": -1}, "online.pretrain_updates=-1 must not be negative"),
        ({"greedy_every": -1}, "online.greedy_every=-1 must not be negative"),
        ({"updates_per_step": 0.0}, "online.updates_per_step=0.0 must be greater than 0"),
        ({"env": "", "task": "cartpole-swingup"}, "online.task=cartpole-swingup is of no simulator"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OnlineConfig(**{"env": "dmc", **options})


def test_too_few_steps_at_random_are_refused_before_the_first_update(tmp_path):
    message = (
        "online.seed_steps=39 is too small: no episode of cartpole-swingup is over after 39 control steps, and only "
        "finished episodes are learned from; set it to at least 40, the control steps of an episode"
    )
    recipe = recipe_of()
    online = replace(recipe.online, seed_steps=39, pretrain_updates=10)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train_world_model(replace(recipe, online=online), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists() or not logged(tmp_path / "run")


@pytest.mark.parametrize("algorithm", ["tdmpc", "dreamer"])
def test_episodes_that_are_shorter_than_a_sample_and_end_within_an_action_are_learned_from(tmp_path, algorithm):
    recipe = recipe_of(train_steps=4, save_interval_steps=None, log_interval=1)
    online = replace(recipe.online, settings={"max_steps": 5}, seed_steps=15, pretrain_updates=2)
    rssm = RSSMConfig(state_dim=8, hidden_dim=8, variables=3, classes=4, num_layers=1, bins=11)
    dreamer = DreamerConfig(rssm, sequence_length=8, horizon=2, hidden_dim=8, num_layers=1)
    model = replace(recipe.model, algorithm=algorithm, action_repeat=3, dreamer=dreamer)
    train_world_model(replace(recipe, online=online, model=model), tmp_path / "run")
    assert all(np.isfinite(line["reward_loss"]) and line["reward_loss"] > 0 for line in logged(tmp_path / "run"))
    assert len(logged(tmp_path / "run")) == 4


def test_meta_world_is_learned_from_what_the_simulator_alone_knows(tmp_path):
    pytest.importorskip("metaworld")
    recipe = recipe_of(train_steps=4, save_interval_steps=None)
    online = OnlineConfig(
        env="metaworld",
        task="button-press-topdown-v3",
        settings={"environment_state": True, "max_steps": 21, "terminate_on_success": False},
        seed_steps=42,
        pretrain_updates=0,
        updates_per_step=0.5,
    )
    model = replace(recipe.model, state_key="observation.environment_state", action_repeat=2)
    result = train_world_model(replace(recipe, online=online, model=model), tmp_path / "run")
    record = Checkpoint.load(result.checkpoint).record["batches"]["experience"]
    assert record["steps"] == 42 + 2 * 4
    assert [len(each) for each in record["running"]["actions"]] == [4] * 8
    bundle = Bundle.load(result.checkpoint)
    assert bundle.config["robot_state_dim"] == 39
    assert [window.key for window in bundle.windows] == ["observation.environment_state", "action"]
    results = tempovla.recipe.evaluation.simulators.evaluate(
        result.checkpoint, "metaworld", config=EvaluationConfig(episodes=1, max_steps=10, num_envs=1)
    )
    assert len(results["episodes"]) == 1


class Line(gymnasium.Env):
    """It falls at its fifth step and is solved at its third, if this ends no episode before."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), 1.0, self.steps == 5, False, {"is_success": self.steps == 3}


@pytest.mark.parametrize(("stops", "length", "ended"), [(False, 5, True), (True, 3, False)])
def test_an_episode_that_is_over_as_the_task_is_solved_has_not_ended_its_world(tmp_path, stops, length, ended):
    before = dict(gymnasium.registry)
    gymnasium.register("Line-v0", Line, max_episode_steps=9)
    try:
        recipe = recipe_of(train_steps=1, save_interval_steps=None)
        online = OnlineConfig(
            env="gym",
            task="Line-v0",
            settings={"terminate_on_success": stops, "render": False},
            seed_steps=10,
            pretrain_updates=1,
        )
        train_world_model(replace(recipe, online=online), tmp_path / "run")
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(before)
    with ReplaySource.open(tmp_path / "run" / "replay", read_only=True) as replay:
        assert replay.episode(0).length == length
        told = replay.read(0, "next.terminated", range(length)).value[:, 0].tolist()
    assert told == [False] * (length - 1) + [ended]
