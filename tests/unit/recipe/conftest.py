"""A tiny recording, and a StateVLA small enough to be trained on it within a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.registry import tiny_vla_config

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.model.vla.statevla_config import JepaConfig, StateVLAConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.statevla_config import Phase1Config, Phase2Config, StateVLARecipe, StateVLATraining
from tempovla.recipe.systems.vla_config import VLARecipe, VLATraining, VLATransformConfig

STATE, ACTION, FRONT, WRIST = "observation.state", "action", "observation.images.front", "observation.images.wrist"
FEATURES = {
    STATE: Feature("float32", (3,)),
    ACTION: Feature("float32", (3,)),
    FRONT: Feature("image", (24, 32, 3)),
    WRIST: Feature("image", (16, 16, 3)),
}


def record(root: Path, *, episodes: int = 4, binary_gripper: bool = True, lights: int = 255) -> Path:
    """Episodes of 9 steps; the last action dimension is a gripper. Without lights (0) pictures are black."""
    random = np.random.default_rng(0)
    with DatasetWriter(root, FEATURES, 10.0, robot_type="toy") as writer:
        for episode in range(episodes):
            action = random.normal(size=(9, 3)).astype(np.float32)
            if binary_gripper:
                action[:, 2] = np.where(np.arange(9) < 5, -1.0, 1.0)
            frames = {
                key: random.integers(0, 256, (9, *FEATURES[key].shape), dtype=np.uint8) & np.uint8(lights)
                for key in (FRONT, WRIST)
            }
            state = random.normal(size=(9, 3)).astype(np.float32)
            writer.add_episode({STATE: state, ACTION: action, **frames}, f"task {episode % 2}")
    return root


@pytest.fixture(autouse=True)
def on_the_cpu(request, monkeypatch) -> None:
    """Where training repeats bit for bit; tests marked `gpu` take the GPU."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def dataset(tmp_path) -> Path:
    return record(tmp_path / "dataset")


def tiny_recipe(dataset: str | Path) -> StateVLARecipe:
    """Six steps a phase, everything on that can be."""
    return StateVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        model=StateVLAConfig(
            cameras=(FRONT, WRIST),
            image_size=16,
            patch_size=8,
            embed_dim=8,
            lang_emb_dim=8,
            robot_state_dim=3,
            encoder_type="transformer",
            encoder_depth=1,
            num_heads=2,
            readout="all_tokens",
            state_dim=8,
            action_dim=3,
            action_seq_len=4,
            policy_type="transformer",
            policy_layers=1,
            policy_embed_dim=8,
            jepa=JepaConfig(
                prediction_horizon=2, regularize="state", inverse_dynamics_weight=1.0, behavior_cloning_weight=1.0
            ),
        ),
        training=StateVLATraining(
            batch_size=4,
            train_steps=6,
            warmup_steps=1,
            log_interval=1,
            save_interval=0,
            save_interval_steps=3,
            keep_every=3,
            weight_ema_decay=0.9,
            num_threads=1,
            phase1=Phase1Config(learning_rate=1e-3, temporal_predictor_hidden_dim=8),
            phase2=Phase2Config(learning_rate=1e-3),
        ),
    )


def guide_recipe(dataset: str | Path) -> StateVLARecipe:
    """The parts of the guide's model and its settings, which are the defaults, at small sizes."""
    sizes = {"image_size": 16, "patch_size": 8, "embed_dim": 8, "lang_emb_dim": 8, "robot_state_dim": 3, "state_dim": 8}
    depths = {"encoder_depth": 2, "action_dim": 3, "action_seq_len": 4, "policy_layers": 1, "policy_embed_dim": 8}
    return StateVLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        model=StateVLAConfig(cameras=(FRONT, WRIST), **sizes, **depths),
        training=StateVLATraining(
            batch_size=4, learning_rate=1e-3, log_interval=1, num_threads=1, recompute_activations=True
        ),
    )


def vla_recipe(dataset: str | Path) -> VLARecipe:
    """Six steps of a tiny VLA."""
    options = {"readout": "all_tokens", "token_dim": 4, "feature_dim": 8, "cloning_weight": 1.0}
    return VLARecipe(
        data=DataConfig(data_directory=str(dataset), train_split=0.75, validation_batches=2),
        transform=VLATransformConfig(shift_px=1),
        model=tiny_vla_config("flow_matching", action_dim=3, **options),
        training=VLATraining(
            batch_size=4,
            train_steps=6,
            learning_rate=1e-3,
            warmup_steps=1,
            log_interval=1,
            save_interval=0,
            save_interval_steps=3,
            keep_every=3,
            weight_ema_decay=0.9,
            num_threads=1,
        ),
    )


@pytest.fixture
def recipe(dataset) -> StateVLARecipe:
    return tiny_recipe(dataset)


@pytest.fixture
def blind(recipe) -> StateVLARecipe:
    return replace(recipe, transform=replace(recipe.transform, blind=True))
