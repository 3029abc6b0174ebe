"""Settings of a policy that plans with a learned world model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tempovla.model.world_model.dynamics_model import LatentDynamicsConfig
from tempovla.model.world_model.planning.config import PlannerConfig


@dataclass(frozen=True)
class TDMPCConfig:
    """Sizes, losses and planner; the defaults are those of TD-MPC2.

    Attributes:
        robot_state_dim: dimensions of the robot's state; None where it is not read.
        action_dim: dimensions of an action in [-1, 1].
        cameras: keys of the pictures that are seen.
        image_size: side of these pictures [px].
        horizon: number of steps over which the model learns to predict.
        episode_length: most control steps of an episode, from which the discount follows.
        discount: of a step; None takes 1 - 5 / `episode_length`, but at least 0.95 and at most 0.995.
        dynamics: sizes of the world model.
        planner: how actions are searched for.
        plans: whether actions are searched for; False takes those of the model's own policy.
        rho: how much less each further step of a prediction counts.
        consistency_weight: of the error of predicted latent states.
        reward_weight: of the loss of predicted rewards.
        value_weight: of the loss of values.
        end_weight: of the loss of predicted ends, where `dynamics.predicts_end` is set.
        entropy_weight: how much the policy is rewarded for being undecided.
        scale_tau: share of the newest spread of values in the running one, by which the policy's loss is divided.
    """

    robot_state_dim: int | None = None
    action_dim: int = 7
    cameras: tuple[str, ...] = ()
    image_size: int = 64
    horizon: int = 3
    episode_length: int = 500
    discount: float | None = None
    dynamics: LatentDynamicsConfig = field(default_factory=LatentDynamicsConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    plans: bool = True
    rho: float = 0.5
    consistency_weight: float = 20.0
    reward_weight: float = 0.1
    value_weight: float = 0.1
    end_weight: float = 1.0
    entropy_weight: float = 1e-4
    scale_tau: float = 0.01

    def __post_init__(self) -> None:
        for name in ("robot_state_dim", "action_dim", "horizon", "episode_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        if self.robot_state_dim is None and not self.cameras:
            raise ValueError("model.robot_state_dim and model.cameras are both missing; give what the policy sees")
        if self.cameras and self.image_size != 64:
            raise ValueError(f"model.image_size={self.image_size}: the encoder of pictures reads 64 px; set it to 64")
        if self.discount is not None and not 0 < self.discount < 1:
            raise ValueError(f"model.discount={self.discount} must lie between 0 and 1")
        if not 0 < self.rho <= 1:
            raise ValueError(f"model.rho={self.rho} must be greater than 0, and at most 1")
        weights = ("consistency_weight", "reward_weight", "value_weight", "end_weight", "entropy_weight")
        for name in weights:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"model.{name}={getattr(self, name)} must be finite, and not negative")
        if not 0 < self.scale_tau <= 1:
            raise ValueError(f"model.scale_tau={self.scale_tau} must be greater than 0, and at most 1")

    @property
    def has_gripper(self) -> bool:
        """Whether the last dimension of an action is binary; here all of them are continuous."""
        return False

    @property
    def step_discount(self) -> float:
        """The discount of a step."""
        if self.discount is not None:
            return self.discount
        return min(max(1.0 - 5.0 / self.episode_length, 0.95), 0.995)
