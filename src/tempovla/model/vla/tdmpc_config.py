"""Settings of the learning of TD-MPC2."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig


@dataclass(frozen=True)
class TDMPCConfig:
    """How a world model without a decoder learns, and its sizes; the defaults are those of TD-MPC2.

    Attributes:
        horizon: number of steps over which the model learns to predict.
        dynamics: sizes of the world model.
        rho: how much less each further step of a prediction counts.
        consistency_weight: of the error of predicted latent states.
        reward_weight: of the loss of predicted rewards.
        value_weight: of the loss of values.
        end_weight: of the loss of predicted ends, where `dynamics.predicts_end` is set.
        entropy_weight: how much the policy is rewarded for being undecided.
        cloning_weight: of the squared error between the policy's actions and those that were done. It keeps what is
            learned from a recording near to what was recorded.
        inverse_dynamics_weight: of the error of the action towards what is seen some steps later; 0 leaves it out. The
            rest of the model does not learn from it.
        inverse_dynamics_steps: numbers of these steps.
        scale_tau: share of the newest spread of values in the running one, by which the policy's loss is divided.
    """

    horizon: int = 3
    dynamics: LatentDynamicsConfig = field(default_factory=LatentDynamicsConfig)
    rho: float = 0.5
    consistency_weight: float = 20.0
    reward_weight: float = 0.1
    value_weight: float = 0.1
    end_weight: float = 1.0
    entropy_weight: float = 1e-4
    cloning_weight: float = 0.0
    inverse_dynamics_weight: float = 0.0
    inverse_dynamics_steps: tuple[int, ...] = (1, 2, 4, 8, 15)
    scale_tau: float = 0.01

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"model.tdmpc.horizon={self.horizon} must be at least 1")
        if not 0 < self.rho <= 1:
            raise ValueError(f"model.tdmpc.rho={self.rho} must be greater than 0, and at most 1")
        weights = ("consistency", "reward", "value", "end", "entropy", "cloning", "inverse_dynamics")
        for name in (f"{weight}_weight" for weight in weights):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"model.tdmpc.{name}={getattr(self, name)} must be finite, and not negative")
        steps = self.inverse_dynamics_steps
        if not steps or min(steps) < 1 or list(steps) != sorted(set(steps)):
            raise ValueError(
                f"model.tdmpc.inverse_dynamics_steps={list(steps)} must be numbers from 1 on, in rising order"
            )
        if not 0 < self.scale_tau <= 1:
            raise ValueError(f"model.tdmpc.scale_tau={self.scale_tau} must be greater than 0, and at most 1")

    @property
    def goal_steps(self) -> tuple[int, ...]:
        """Steps to the goals from which inverse dynamics learn; none where they do not."""
        return self.inverse_dynamics_steps if self.inverse_dynamics_weight else ()
