"""Two made-up bodies with opposite conventions, recorded, and a small VLA that learns both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.gripper_recordings import ACTION, FRONT, STATE, WRIST
from tests.tiny import six_steps, tiny_vla_config

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.recipe.datasets.config import DataConfig, MemberConfig
from tempovla.recipe.systems.vla_config import VLARecipe, VLATransformConfig

SIDE = "observation.images.side"
SMALL, LARGE = "small", "large"
DIMS = {SMALL: (2, 3), LARGE: (4, 5)}
"""State and action dimensions, a gripper included."""
CAMERAS = {SMALL: {FRONT: (16, 16, 3), WRIST: (16, 16, 3)}, LARGE: {SIDE: (24, 32, 3)}}


def pose(body: str, task: int) -> float:
    """What every dimension but the gripper is in demonstrations: +-1 for the one body, 300 -+ 50 for the other."""
    sign = 1.0 if task else -1.0
    return sign if body == SMALL else 300.0 - 50.0 * sign


def record_body(root: Path, body: str, *, episodes: int = 4, noise: float = 0.0, gripper: float = 1.0) -> Path:
    """Episodes of 9 steps; a body that closes its gripper in a task is told the same words as one that opens it."""
    random = np.random.default_rng(len(body))
    state_dim, action_dim = DIMS[body]
    features = {STATE: Feature("float32", (state_dim,)), ACTION: Feature("float32", (action_dim,))}
    features |= {key: Feature("image", shape) for key, shape in CAMERAS[body].items()}
    with DatasetWriter(root, features, 10.0 if body == SMALL else 20.0, robot_type=body) as writer:
        for episode in range(episodes):
            task = episode % 2
            action = np.full((9, action_dim), pose(body, task)) + noise * random.normal(size=(9, action_dim))
            action[:, -1] = gripper if (task == 1) == (body == SMALL) else -gripper
            state = random.normal(size=(9, state_dim)).astype(np.float32)
            frames = {key: random.integers(0, 256, (9, *shape), np.uint8) for key, shape in CAMERAS[body].items()}
            writer.add_episode({STATE: state, ACTION: action.astype(np.float32), **frames}, f"task {task}")
    return root


def member(root: Path, body: str, **options: Any) -> MemberConfig:
    """A dataset of the mixture: the large body's camera is the model's front one, and it has no wrist."""
    cameras = {FRONT: SIDE, WRIST: None} if body == LARGE else {}
    return MemberConfig(str(root / body), **{"cameras": cameras, **options})


def mixed_recipe(root: Path, bodies: tuple[str, ...] = (SMALL, LARGE), **options: Any) -> VLARecipe:
    """Six steps on both bodies; a model of four state and five action dimensions."""
    sizes = {"readout": "all_tokens", "token_dim": 4, "feature_dim": 8, "robot_state_dim": 4, "action_dim": 5}
    model = tiny_vla_config(options.pop("head", "mlp"), **sizes, cloning_weight=1.0)
    return VLARecipe(
        DataConfig(mixture=tuple(member(root, body) for body in bodies), train_split=0.75, validation_batches=2),
        VLATransformConfig(),
        model,
        six_steps(**{"batch_size": 8, **options}),
    )
