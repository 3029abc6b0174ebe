"""What the training of a driving policy takes from an earlier one."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests import drives

from tempovla.recipe.systems.driving import build_policy, load_base, train_driving
from tempovla.recipe.systems.driving_config import DrivingDataConfig, DrivingRecipe
from tempovla.timeline import Bundle
from tempovla.training.config import TrainConfig


def recipe(steps: int = 2, **model: object) -> DrivingRecipe:
    training = TrainConfig(train_steps=steps, batch_size=2, save_interval=0, log_interval=1, num_threads=1)
    return DrivingRecipe(
        data=DrivingDataConfig(validation_batches=1), model=drives.tiny_config(**model), training=training
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("base")
    train_driving(recipe(), out, source=drives.drives(3, 8))
    return out / "checkpoint_latest"


def test_what_is_new_begins_anew_and_all_else_is_that_of_the_base(base, caplog):
    with caplog.at_level(logging.INFO):
        policy = build_policy(recipe(temporal=drives.tiny_temporal(), film=True), base)
    before, now = Bundle.load(base).weights, policy.state_dict()
    assert {name.split(".")[0] for name in now.keys() - before.keys()} == {"history", "instruct"}
    assert all(torch.equal(now[name], weight) for name, weight in before.items())
    assert f"{base}: has no weights for history, instruct, which learn from the beginning" in caplog.text


def test_a_run_with_the_past_goes_on_where_one_without_it_ended(base, tmp_path):
    past, source = recipe(2, temporal=drives.tiny_temporal()), drives.drives(3, 8)
    past = replace(past, training=replace(past.training, save_interval_steps=1, keep_every=1))
    whole = train_driving(past, tmp_path / "run", base_checkpoint=base, source=source)
    first = tmp_path / "run" / "checkpoints" / "step_00000001"
    before, then = (Bundle.load(each).weights for each in (base, first))
    moved = max(float((then[name] - weight).abs().max()) for name, weight in before.items())
    assert 0 < moved < 0.01  # one step of training
    resumed = train_driving(past, tmp_path / "on", base_checkpoint="absent", resume=first, source=source)
    ended = [Bundle.load(each.checkpoint).weights for each in (whole, resumed)]
    assert all(torch.equal(weight, ended[1][name]) for name, weight in ended[0].items())


def test_a_policy_without_the_past_takes_what_one_with_it_has_beside(base, tmp_path):
    learned = train_driving(recipe(1, temporal=drives.tiny_temporal()), tmp_path, source=drives.drives(3, 8))
    policy = build_policy(recipe())
    load_base(policy, learned.checkpoint)
    weights = Bundle.load(learned.checkpoint).weights
    assert all(torch.equal(weight, weights[name]) for name, weight in policy.state_dict().items())


def test_other_sizes_and_sensors_and_kinds_are_refused_in_one_line(base, tmp_path):
    with pytest.raises(ValueError, match=r"weight .* is .* in the model; give a checkpoint of this config$"):
        build_policy(recipe(width=24), base)
    with pytest.raises(ValueError, match=r"has weight 'encoder\..*' of another model; give a checkpoint"):
        build_policy(recipe(sensors=("lidar",)), base)
    with pytest.raises(ValueError, match=r"absent/bundle\.json: no such file"):
        train_driving(recipe(), tmp_path, base_checkpoint="absent", source=drives.drives(3, 8))
    other = Bundle.load(base)
    object.__setattr__(other, "policy", "vla")
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other: is of policy 'vla', which does not drive; give a checkpoint of"):
        train_driving(recipe(), tmp_path, base_checkpoint=tmp_path / "other", source=drives.drives(3, 8))
