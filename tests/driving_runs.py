"""Trainings of a tiny driving policy from scenes on the disk, in this process and in others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests import drives, nuscenes_scenes

from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.recipe.systems.driving import train_driving
from tempovla.recipe.systems.driving_config import DrivingDataConfig, DrivingRecipe
from tempovla.training.config import TrainConfig


def write_scenes(root: Path) -> Path:
    """Two scenes of 12 key frames."""
    return nuscenes_scenes.write(root, (12, 12), nuscenes_scenes.Rates(2.0, 2.0, 2.0))


def driving_recipe(root: str | Path) -> DrivingRecipe:
    """Six steps with all that is drawn at random; every second has a checkpoint."""
    options = {"modality_dropout": 0.3, "state_dropout": 0.2, "temporal": drives.tiny_temporal()}
    training = TrainConfig(
        train_steps=6, batch_size=2, save_interval=0, save_interval_steps=2, keep_every=2, log_interval=3, num_threads=1
    )
    data = DrivingDataConfig(str(root), train_split=0.5, validation_batches=1)
    return DrivingRecipe(data=data, model=drives.tiny_config(**options), training=training)


def train_until_killed(root: str, out: str, train_step: int) -> None:
    """Train until a step, and die without a warning."""
    follow = MultiSensorVLA.after_step

    def after_step(policy: MultiSensorVLA, done: int) -> None:
        follow(policy, done)
        if done == train_step:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiSensorVLA, "after_step", after_step)
        train_driving(driving_recipe(root), out)
