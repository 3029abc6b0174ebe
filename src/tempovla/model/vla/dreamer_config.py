"""Settings of the learning of Dreamer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tempovla.model.world_model.rssm_config import RSSMConfig


@dataclass(frozen=True)
class DreamerConfig:
    """How a recurrent world model, an actor and a critic learn; the defaults are those of DreamerV3.

    Attributes:
        rssm: sizes of the world model.
        sequence_length: number of actions of a training sample; the model sees one observation more.
        horizon: number of steps that are imagined.
        start_stride: imagination begins at every such step of a sequence; 1 takes all of them.
        hidden_dim: width of the actor and of the critic.
        num_layers: their hidden layers.
        min_std: least standard deviation of the actor.
        max_std: greatest one.
        observation_weight: of the error of decoded observations.
        reward_weight: of the loss of predicted rewards.
        end_weight: of the loss of predicted ends, where `rssm.predicts_end` is set.
        dynamics_weight: of the divergence from which the prior learns.
        representation_weight: of the divergence from which the posterior learns.
        return_lambda: how far returns look ahead, from 0 for one step to 1 for the whole horizon.
        entropy_weight: how much the actor is rewarded for being undecided.
        slow_weight: of the critic's loss with its slow copy.
        slow_tau: share of the critic in its slow copy after each step.
        scale_tau: share of the newest spread of returns in the running one, by which advantages are divided.
    """

    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    sequence_length: int = 64
    horizon: int = 15
    start_stride: int = 1
    hidden_dim: int = 512
    num_layers: int = 3
    min_std: float = 0.1
    max_std: float = 1.0
    observation_weight: float = 1.0
    reward_weight: float = 1.0
    end_weight: float = 1.0
    dynamics_weight: float = 1.0
    representation_weight: float = 0.1
    return_lambda: float = 0.95
    entropy_weight: float = 3e-4
    slow_weight: float = 1.0
    slow_tau: float = 0.02
    scale_tau: float = 0.01

    def __post_init__(self) -> None:
        for name in ("sequence_length", "horizon", "start_stride", "hidden_dim", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.dreamer.{name}={getattr(self, name)} must be at least 1")
        if not 0 < self.min_std <= self.max_std <= 1:
            raise ValueError(
                f"model.dreamer.min_std={self.min_std} must be greater than 0 and at most max_std={self.max_std}, "
                "which must be at most 1"
            )
        parts = ("observation", "reward", "end", "dynamics", "representation", "entropy", "slow")
        for name in (f"{part}_weight" for part in parts):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"model.dreamer.{name}={getattr(self, name)} must be finite, and not negative")
        if not 0 <= self.return_lambda <= 1:
            raise ValueError(f"model.dreamer.return_lambda={self.return_lambda} must lie in [0, 1]")
        for name in ("slow_tau", "scale_tau"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"model.dreamer.{name}={getattr(self, name)} must be greater than 0, and at most 1")
