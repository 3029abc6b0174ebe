"""Dreamer is learned while its policy acts; a run that stops goes on bit for bit, in the middle of an episode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trained import assert_same, logged

import tempovla
from tempovla.model.vla.dreamer_config import DreamerConfig
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.world_model import train_world_model
from tempovla.recipe.systems.world_model_config import SYSTEM, OnlineConfig, WorldModelRecipe, WorldModelTraining
from tempovla.training.checkpoint import Checkpoint

LENGTH, UPDATES, SAVED = 30, 24, 11
"""Control steps of an episode, updates of a run, and the update after which a checkpoint is saved: in an episode."""
TIMES = ("samples_per_s", "cpu_s")


def recipe_of(**training: Any) -> WorldModelRecipe:
    """A few updates of a tiny model, after eighty steps at random."""
    sizes = {"state_dim": 8, "hidden_dim": 8, "variables": 3, "classes": 4, "num_layers": 1, "bins": 11}
    fields = {"sequence_length": 6, "horizon": 3, "hidden_dim": 8, "num_layers": 1}
    dreamer = DreamerConfig(RSSMConfig(**sizes), **fields)
    settings = {"train_steps": UPDATES, "batch_size": 4, "log_interval": 8, "save_interval_steps": SAVED}
    simulator = {"env": "dmc", "task": "cartpole-swingup", "settings": {"max_steps": LENGTH}}
    return WorldModelRecipe(
        online=OnlineConfig(**simulator, seed_steps=80, pretrain_updates=4, updates_per_step=0.5),
        model=WorldModelConfig("dreamer", dreamer=dreamer),
        training=WorldModelTraining(**settings | {"keep_every": SAVED} | training),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing interrupts."""
    pytest.importorskip("dm_control")
    run = tmp_path_factory.mktemp("dreamer") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        train_world_model(recipe_of(), run)
    return run


def test_a_run_that_goes_on_in_the_middle_of_an_episode_is_the_same_bit_for_bit(tmp_path, whole):
    other = tmp_path / "run"
    shutil.copytree(whole, other, symlinks=True)
    saved = Checkpoint.load(other / f"checkpoints/step_{SAVED:08d}").record["batches"]["experience"]["running"]
    assert 0 < len(saved["actions"]) < LENGTH
    train_world_model(recipe_of(), other, resume=other / f"checkpoints/step_{SAVED:08d}")
    left, right = (Checkpoint.load(run / "checkpoint_latest") for run in (whole, other))
    assert_same(dict(right.tensors), dict(left.tensors))
    assert right.record["batches"] == left.record["batches"]
    assert (other / "episodes.jsonl").read_text() == (whole / "episodes.jsonl").read_text()
    lines = [[{k: v for k, v in line.items() if k not in TIMES} for line in logged(run)] for run in (whole, other)]
    assert lines[0] == lines[1]


def test_it_acts_between_updates_and_logs_what_it_learns(whole):
    episodes = [json.loads(line) for line in (whole / "episodes.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in episodes] == [30, 60, 90, 120]
    last = logged(whole)[-1]
    terms = ("state_loss", "reward_loss", "end_loss", "dynamics_loss", "representation_loss", "actor_loss")
    assert all(name in last for name in (*terms, "critic_loss", "divergence", "return_scale", "actor_entropy"))


def test_the_policy_that_was_saved_acts_by_what_it_saw_and_did(whole):
    seen = {"observation.state": [0.0, 1.0, 0.0, 0.0, 0.0], "task": "swing up"}
    policy = tempovla.load(whole / "checkpoint_latest", device="cpu")
    first, second = (float(policy.step(seen)[0]) for _ in range(2))
    policy.reset()
    assert float(policy.step(seen)[0]) == first
    assert abs(first) <= 1.0
    assert second != first


DREAMER, TDMPC = WorldModelConfig(algorithm="dreamer"), WorldModelConfig(algorithm="tdmpc")


def test_settings_that_are_not_given_are_those_of_the_algorithm():
    given = WorldModelTraining(batch_size=7)
    dreamer, tdmpc = given.settled(DREAMER), given.settled(TDMPC)
    assert (dreamer.batch_size, dreamer.learning_rate, dreamer.gradient_clip) == (7, 1e-4, 1000.0)
    assert (tdmpc.batch_size, tdmpc.learning_rate, tdmpc.gradient_clip) == (7, 3e-4, 20.0)
    assert WorldModelTraining().settled(DREAMER).batch_size == 16
    assert sorted(dreamer.parameter_groups) == ["actor", "critic"]
    assert sorted(tdmpc.parameter_groups) == ["actor", "encoder"]
    with pytest.raises(ValueError, match=r"training\.batch_size=0 must be at least 1"):
        WorldModelTraining(batch_size=0)


def test_the_packaged_config_is_dreamer_at_its_smallest():
    recipe = read_recipe("world-model", SYSTEM, "world_model_dreamer", {"online.task": "reacher-easy"})
    assert (recipe.model.algorithm, recipe.online.env, recipe.online.task) == ("dreamer", "dmc", "reacher-easy")
    assert recipe.model.dreamer.rssm.state_dim == 512
    assert recipe.training.settled(recipe.model).batch_size == 16
