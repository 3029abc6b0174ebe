"""The recipe of a world model that is learned online: simulator, model and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import System
from tempovla.training.config import ParameterGroupConfig, TrainConfig
from tempovla.transform.scaling import NormalizationMode


@dataclass(frozen=True)
class OnlineConfig:
    """Learning by acting in a simulator.

    Attributes:
        env: name of the simulator, such as dmc.
        task: its task.
        settings: fields of the simulator's config with other values, such as `{"action_repeat": 4}`.
        seed_steps: number of control steps with random actions before the first update.
        pretrain_updates: number of updates after these, before the policy acts.
        updates_per_step: number of updates for each further control step.
        replay_steps: most control steps that are drawn from; older episodes are then left out.
        replay_bytes: most memory that episodes take; the others are read from the disk.
    """

    env: str = ""
    task: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed_steps: int = 2500
    pretrain_updates: int = 2500
    updates_per_step: float = 1.0
    replay_steps: int = 1_000_000
    replay_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name in ("seed_steps", "replay_steps", "replay_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"online.{name}={getattr(self, name)} must be at least 1")
        if self.pretrain_updates < 0:
            raise ValueError(f"online.pretrain_updates={self.pretrain_updates} must not be negative")
        if not 0 < self.updates_per_step <= 1000:
            raise ValueError(f"online.updates_per_step={self.updates_per_step} must be greater than 0, at most 1000")
        if self.task and not self.env:
            raise ValueError(f"online.task={self.task} is of no simulator; name one with online.env")


GROUPS = {
    "encoder": ParameterGroupConfig(learning_rate=1e-4),
    "actor": ParameterGroupConfig(gradient_clip=20.0),
}
"""Settings of parts that differ from the rest, where the training's `parameter_groups` say nothing of them."""


@dataclass(frozen=True)
class WorldModelTraining(TrainConfig):
    """Training of a world model; the defaults are those of TD-MPC2, whose encoder learns at a third of the rate."""

    train_steps: int | None = 50_000
    batch_size: int = 256
    learning_rate: float = 3e-4
    learning_rate_floor: float = 1.0
    weight_decay: float = 0.0
    gradient_clip: float = 20.0
    log_interval: int = 100
    save_interval: int = 0
    save_interval_steps: int | None = 2500
    num_threads: int | None = 1


def with_groups(training: TrainConfig, model: WorldModelConfig) -> TrainConfig:
    """Return the settings of a training with those of the parts that differ.

    Inverse dynamics, where a model has them, are clipped by themselves, so that the rest learns as without them.
    """
    inverse = {"inverse": ParameterGroupConfig(gradient_clip=20.0)} if model.tdmpc.goal_steps else {}
    return replace(training, parameter_groups=GROUPS | inverse | dict(training.parameter_groups))


@dataclass(frozen=True)
class WorldModelTransform(ObservationConfig):
    """Preprocessing of recorded observations and actions; planners search within [-1, 1], the range of the recording.

    In a simulator states and actions are taken as they are.
    """

    action_normalization: NormalizationMode = "min_max"


@dataclass(frozen=True)
class WorldModelRecipe:
    """All settings of a run.

    Attributes:
        online: the simulator, and how the policy acts in it while it learns.
        data: episodes with rewards, to learn from without a simulator.
        transform: preprocessing of observations.
        model: the policy and its world model.
        training: settings of the training.
    """

    online: OnlineConfig = field(default_factory=OnlineConfig)
    data: DataConfig = field(default_factory=DataConfig)
    transform: WorldModelTransform = field(default_factory=WorldModelTransform)
    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    training: WorldModelTraining = field(default_factory=WorldModelTraining)

    def __post_init__(self) -> None:
        given = self.data.data_directory or self.data.mixture
        if self.online.env and given:
            raise ValueError(
                f"online.env={self.online.env} and data.data_directory={self.data.data_directory} exclude each other; "
                "leave out one of them"
            )


SYSTEM = System(
    recipe=WorldModelRecipe,
    train="tempovla.recipe.systems.world_model:train_world_model",
    out="checkpoints/world_model",
    examples="""
tempovla train world-model --env dmc --task cartpole-swingup --algorithm tdmpc --out outputs/swingup
tempovla train world-model --env dmc --task cartpole-swingup --algorithm tdmpc --out outputs/swingup \\
    --checkpoint outputs/swingup/checkpoint_latest
tempovla train world-model --dataset outputs/data --robot_state_dim 4 --action_dim 4 --cloning_weight 1 \\
    --out outputs/world
""",
)
