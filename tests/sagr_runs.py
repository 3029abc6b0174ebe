"""Trainings of a tiny SA-GR, in this process and in others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gripper_recordings import ACTION, FRONT, STATE
from tests.rounding import smooth_steps
from tests.tiny import ONE_LAYER, tiny_sagr_config

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.sagr import SAGR
from tempovla.recipe.systems.sagr import train_sagr
from tempovla.recipe.systems.sagr_config import SAGRDataConfig, SAGRRecipe, SAGRTraining
from tempovla.recipe.systems.vla_config import VLATransformConfig
from tempovla.training.result import FitResult

PHASE_A, RAMP = 2, 2
"""Steps of the first two phases, of six."""
FOLLOWING: dict[str, Any] = {
    "world_target_encoder": "ema",
    "world_target_decay": 0.5,
    "enable_causal_feedback_token": True,
    "causal_feedback_aux_weight": 0.1,
    "flare_weight": 0.2,
    "cloning_weight": 1.0,
    "horizons": (1,),
}
"""Parts of the model whose training has a state of its own, and all that have a loss."""
EVERY_STEP: dict[str, Any] = {"save_interval_steps": 1, "keep_every": 1}
"""Settings of a training that keeps the checkpoint of each step."""
ONE_BAR: dict[str, Any] = {"cameras": (FRONT,), "robot_state_dim": 1, "action_dim": 1, "has_gripper": False}
"""A model for `record_moves`."""


def sagr_recipe(dataset: str | Path, model: dict[str, Any] | None = None, **training: Any) -> SAGRRecipe:
    """Six steps through all three phases on `gripper_recordings.record`."""
    steps = {"batch_size": 4, "train_steps": 6, "learning_rate": 1e-3, "warmup_steps": 1, "log_interval": 1}
    kept = {"save_interval": 0, "num_threads": 1, "weight_ema_decay": 0.9}
    phases = {"sagr_phase_a_steps": PHASE_A, "sagr_phase_b_ramp_steps": RAMP}
    return SAGRRecipe(
        data=SAGRDataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        transform=VLATransformConfig(shift_px=1),
        model=tiny_sagr_config(**{"action_dim": 3, "vlm": ONE_LAYER} | (model or {})),
        training=SAGRTraining(**steps | kept | phases | training),
    )


def ended_at(train_step: int, end: Callable[[], None], recipe: SAGRRecipe, out: str | Path) -> None:
    """Train until a step, after which `end` ends the training from outside."""
    follow = SAGR.after_step

    def after_step(policy: SAGR, done: int) -> None:
        follow(policy, done)
        if done == train_step:
            end()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAGR, "after_step", after_step)
        train_sagr(recipe, out)


def train_until_killed(dataset: str, out: str, train_step: int) -> None:
    """Train with a checkpoint every second step and a line of figures each third, and die without a warning."""
    recipe = sagr_recipe(dataset, FOLLOWING, save_interval_steps=2, keep_every=2, log_interval=3)
    ended_at(train_step, lambda: os.kill(os.getpid(), signal.SIGKILL), recipe, out)


@smooth_steps()
def train_spread(
    dataset: str | Path, out: str | Path, batch_size: int, parallel: str = "ddp", resume: Path | None = None
) -> FitResult:
    """An epoch whose targets lie four steps ahead in episodes of nine; batches are of `batch_size` rows a process."""
    options = {**FOLLOWING, "temporal_delta_k": 4}
    recipe = sagr_recipe(dataset, options, batch_size=batch_size, train_steps=None, num_epochs=1, parallel=parallel)
    training = replace(recipe.training, save_interval_steps=2, keep_every=2)
    return train_sagr(replace(recipe, training=training), out, resume=resume)


def train_pairs(folder: str, batch_size: int) -> None:
    """All that two processes train, one run after the other; the last half of each once more, as `<parallel>_again`."""
    for parallel in ("ddp", "fsdp"):
        given = (batch_size, parallel)
        train_spread(Path(folder, "dataset"), Path(folder, parallel), *given)
        halfway = Path(folder, parallel, "checkpoints/step_00000002")
        train_spread(Path(folder, "dataset"), Path(folder, f"{parallel}_again"), *given, halfway)


def record_moves(root: Path, *, episodes: int = 8, steps: int = 24, seed: int = 0) -> Path:
    """Episodes in which a bright bar is moved by the action, so that the future follows from it.

    The bar is at x in [0, 1] of a picture of 16 pixels; the state is x, and the action its change, in units of a tenth.
    """
    random = np.random.default_rng(seed)
    features = {STATE: Feature("float32", (1,)), ACTION: Feature("float32", (1,)), FRONT: Feature("image", (16, 16, 3))}
    column = np.linspace(0, 1, 16)
    with DatasetWriter(root, features, 10.0, robot_type="toy") as writer:
        for _ in range(episodes):
            x, places, actions = random.uniform(), [], []
            for _ in range(steps):
                action = random.choice((-1.0, 1.0))
                action = -action if not 0 <= x + 0.1 * action <= 1 else action
                places.append(x)
                actions.append(action)
                x += 0.1 * action
            light = 255 * np.exp(-0.5 * ((column[None] - np.array(places)[:, None]) / 0.15) ** 2)
            pictures = np.broadcast_to(light[:, None, :, None], (steps, 16, 16, 3)).astype(np.uint8)
            state, action = (np.array(values, np.float32)[:, None] for values in (places, actions))
            writer.add_episode({STATE: state, ACTION: action, FRONT: np.ascontiguousarray(pictures)}, "move the bar")
    return root
