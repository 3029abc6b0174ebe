"""What a driving policy recognises along recorded scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests import drives

from tempovla.control.load_actor import open_policy
from tempovla.data.loader import collate
from tempovla.data.memory import MemorySource
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.model.vla.multi_sensor_vla import MultiSensorState
from tempovla.recipe.evaluation.open_loop.recognised import recognised_of
from tempovla.recipe.systems.driving import train_driving
from tempovla.recipe.systems.driving_config import DrivingDataConfig, DrivingRecipe
from tempovla.timeline import Context
from tempovla.timeline.driving import HEADS_KEY, LIGHT_KEY, ROAD_KEY
from tempovla.training.config import TrainConfig

TAUGHT = {"sensors": ("cameras", "lidar"), "occupancy_weight": 0.5, "road_weight": 0.5, "light_weight": 0.5}
NAMES = {"occupancy_iou", "occupancy_iou_0s", "occupancy_iou_1s", "road_iou", "light_accuracy"}


def controller(out: Path, steps: int = 2, **model: object):
    training = TrainConfig(train_steps=steps, batch_size=4, learning_rate=1e-2, save_interval=0, num_threads=1)
    recipe = DrivingRecipe(
        DrivingDataConfig(validation_batches=1), model=drives.tiny_config(**model), training=training
    )
    train_driving(recipe, out, source=drives.drives(3, 8))
    return open_policy(out / "checkpoint_latest", device="cpu").actor()


@pytest.fixture
def mixture() -> Mixture:
    """Scenes of different lengths."""
    scenes = [drives.drive(seed, length) for seed, length in enumerate((12, 5, 9))]
    return Mixture([MemorySource("drives", drives.CAR, drives.streams(), scenes)])


def test_they_are_the_metrics_of_training_over_all_moments(tmp_path, mixture):
    actor = controller(tmp_path, **TAUGHT)
    found = recognised_of(actor, mixture, 2)
    assert found.keys() == NAMES
    index = np.arange(mixture.lengths[0])
    batch = SampleBatch(np.zeros_like(index), index, torch.from_numpy(index))
    sample = collate(mixture, actor.policy.training_windows(), batch)
    context, _ = actor.transform.forward(sample.context, {})
    with torch.no_grad():
        told, _ = actor.policy.perceived(context, actor.policy.initial_state(len(index)))
    for name, metric in told.items():
        assert metric.valid.any()
        expected = metric.prediction[metric.valid].double().mean()
        assert found[name]["mean"] == pytest.approx(float(expected), abs=1e-6)
        low, high = found[name]["ci95"]
        assert low <= found[name]["mean"] <= high


def test_one_that_remembers_has_seen_the_scene_until_then(tmp_path, mixture, monkeypatch):
    actor = controller(tmp_path, temporal=drives.tiny_temporal(), **TAUGHT)
    whole = recognised_of(actor, mixture, 3)
    assert recognised_of(actor, mixture, 1) == {
        name: {"mean": pytest.approx(each["mean"], abs=1e-6), "ci95": pytest.approx(each["ci95"], abs=1e-6)}
        for name, each in whole.items()
    }
    perceived, remembered = actor.policy.perceived, []

    def noting(context: Context, state: MultiSensorState):
        kept = torch.where(context.first[:, None], False, state.memory.known)
        remembered.append(kept.sum(dim=1).tolist())
        return perceived(context, state)

    monkeypatch.setattr(actor.policy, "perceived", noting)
    recognised_of(actor, mixture, 2)
    begins, steps = [0, 1], [2] * 10  # two frames are kept, of the longest of the scenes at once
    assert [rows[0] for rows in remembered] == [*begins, *steps, *begins, *steps[:7]]


def test_nothing_is_told_of_what_was_not_learned_or_not_recorded(tmp_path, mixture):
    actor = controller(tmp_path / "untaught", sensors=("lidar",))
    assert recognised_of(actor, mixture, 2) == {}
    taught = controller(tmp_path / "taught", **TAUGHT)
    for key in (ROAD_KEY, LIGHT_KEY, HEADS_KEY):
        del mixture.sources[0].streams[key]
    assert recognised_of(taught, mixture, 2).keys() == {name for name in NAMES if name.startswith("occupancy")}
