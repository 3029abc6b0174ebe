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
        seed_steps: number of control steps with random actions before the first update; at least one whole episode, as
            only finished episodes are learned from (500 control steps in dmc, unless `settings` shorten it).
        pretrain_updates: number of updates after these, before the policy acts.
        updates_per_step: number of updates for each further control step.
        greedy_every: the policy acts as in control, without exploring, in each of so many episodes; 0 for none. Where
            only exploration kept it from a mistake, such as to stand still, the model then learns of it.
        replay_steps: most control steps that are drawn from; older episodes are then left out.
        replay_bytes: most memory that episodes take; the others are read from the disk.
    """

    env: str = ""
    task: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed_steps: int = 2500
    pretrain_updates: int = 2500
    updates_per_step: float = 1.0
    greedy_every: int = 0
    replay_steps: int = 1_000_000
    replay_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name in ("seed_steps", "replay_steps", "replay_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"online.{name}={getattr(self, name)} must be at least 1")
        if self.pretrain_updates < 0:
            raise ValueError(f"online.pretrain_updates={self.pretrain_updates} must not be negative")
        if self.greedy_every < 0:
            raise ValueError(f"online.greedy_every={self.greedy_every} must not be negative")
        if not 0 < self.updates_per_step <= 1000:
            raise ValueError(f"online.updates_per_step={self.updates_per_step} must be greater than 0, at most 1000")
        if self.task and not self.env:
            raise ValueError(f"online.task={self.task} is of no simulator; name one with online.env")


GROUPS: dict[str, dict[str, ParameterGroupConfig]] = {
    "tdmpc": {
        "encoder": ParameterGroupConfig(learning_rate=1e-4),
        "actor": ParameterGroupConfig(gradient_clip=20.0),
    },
    "dreamer": {
        "actor": ParameterGroupConfig(learning_rate=3e-5, gradient_clip=100.0),
        "critic": ParameterGroupConfig(learning_rate=3e-5, gradient_clip=100.0),
    },
}
"""By algorithm, settings of parts that differ from the rest, where `parameter_groups` says nothing of them."""

SETTINGS: dict[str, dict[str, Any]] = {
    "tdmpc": {"batch_size": 256, "learning_rate": 3e-4, "gradient_clip": 20.0},
    "dreamer": {"batch_size": 16, "learning_rate": 1e-4, "gradient_clip": 1000.0},
}
"""By algorithm, the settings of the training that are not given."""


@dataclass(frozen=True)
class WorldModelTraining(TrainConfig):
    """Training of a world model; the defaults are those of TD-MPC2 and of DreamerV3.

    Attributes:
        batch_size: rows in a batch; None takes 256 for `tdmpc` and 16 sequences for `dreamer`.
        learning_rate: peak learning rate; None takes 3e-4 for `tdmpc`, whose encoder learns at a third of the rate, and
            1e-4 for `dreamer`, whose actor and critic do.
        gradient_clip: largest norm of the gradient; None takes 20 for `tdmpc` and 1000 for `dreamer`.
    """

    train_steps: int | None = 50_000
    batch_size: int | None = None  # type: ignore[assignment]
    learning_rate: float | None = None  # type: ignore[assignment]
    learning_rate_floor: float = 1.0
    weight_decay: float = 0.0
    gradient_clip: float | None = None  # type: ignore[assignment]
    log_interval: int = 100
    save_interval: int = 0
    save_interval_steps: int | None = 2500
    num_threads: int | None = 1

    def __post_init__(self) -> None:
        if None in (self.batch_size, self.learning_rate, self.gradient_clip):
            self.settled(WorldModelConfig())  # checks the others
        else:
            super().__post_init__()

    def settled(self, model: WorldModelConfig) -> WorldModelTraining:
        """Return the settings with those of the model's algorithm where none are given, also of its parts.

        Inverse dynamics, where a model has them, are clipped by themselves, so that the rest learns as without them.
        """
        given = {name: value for name, value in SETTINGS[model.algorithm].items() if getattr(self, name) is None}
        inverse = {"inverse": ParameterGroupConfig(gradient_clip=20.0)} if model.tdmpc.goal_steps else {}
        groups = GROUPS[model.algorithm] | inverse | dict(self.parameter_groups)
        return replace(self, **given, parameter_groups=groups)


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
                "leave out one of them, such as that of a config file by --online.env '' --online.task ''"
            )


SYSTEM = System(
    recipe=WorldModelRecipe,
    train="tempovla.recipe.systems.world_model:train_world_model",
    out="checkpoints/world_model",
    usage="--config FILE (--env NAME --task NAME | --dataset ROOT) --out DIR [--KEY VALUE ...]",
    examples="""
tempovla train world-model --config world_model_dmc --task cartpole-swingup --out outputs/swingup
tempovla train world-model --config world_model_dreamer --task cartpole-swingup --out outputs/dreamer
tempovla train world-model --config world_model_dmc --task cartpole-swingup --out outputs/swingup \\
    --checkpoint outputs/swingup/checkpoint_latest
tempovla train world-model --dataset outputs/data --robot_state_dim 4 --action_dim 4 --cloning_weight 1 \\
    --model.planner.policy_weight 2.5 --out outputs/world
""",
)
