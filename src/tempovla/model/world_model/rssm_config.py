"""Settings of recurrent state-space models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

LATENTS = ("categorical", "gaussian")
REWARD_LOSSES = ("two_hot", "mse")


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes of the model and of its stochastic state.

    Attributes:
        state_dim: size of the deterministic state, a multiple of `blocks`.
        hidden_dim: width of all perceptrons, and of the vector that an observation becomes.
        latent: the stochastic state: `categorical` variables as in DreamerV3, or `gaussian` ones.
        variables: number of stochastic variables.
        classes: of each categorical variable.
        unimix: share of the uniform distribution in each categorical one, so that no class becomes impossible.
        min_std: least standard deviation of Gaussian variables.
        blocks: of the recurrent layer, whose matrix is then block-diagonal; 1 is a plain one.
        channels: of the first convolution over pictures; each further layer has twice as many.
        num_layers: hidden layers of the perceptrons that encode and decode vectors and predict rewards.
        bins: number of bins of rewards.
        symlog_range: of the bins, to both sides of 0.
        reward_loss: `two_hot` predicts a distribution over bins, `mse` the number itself.
        predicts_end: whether the model predicts that an episode terminates.
        free_nats: divergence of posterior and prior below which nothing is learned from it [nat].
    """

    state_dim: int = 256
    hidden_dim: int = 512
    latent: Literal["categorical", "gaussian"] = "categorical"
    variables: int = 32
    classes: int = 32
    unimix: float = 0.01
    min_std: float = 0.1
    blocks: int = 1
    channels: int = 32
    num_layers: int = 2
    bins: int = 255
    symlog_range: float = 20.0
    reward_loss: Literal["two_hot", "mse"] = "two_hot"
    predicts_end: bool = True
    free_nats: float = 1.0

    def __post_init__(self) -> None:
        if self.latent not in LATENTS:
            raise ValueError(f"rssm.latent={self.latent!r} is unknown; choose from {', '.join(LATENTS)}")
        if self.reward_loss not in REWARD_LOSSES:
            raise ValueError(
                f"rssm.reward_loss={self.reward_loss!r} is unknown; choose from {', '.join(REWARD_LOSSES)}"
            )
        for name in ("state_dim", "hidden_dim", "variables", "blocks", "channels", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"rssm.{name}={getattr(self, name)} must be at least 1")
        for name in ("classes", "bins"):
            if getattr(self, name) < 2:
                raise ValueError(f"rssm.{name}={getattr(self, name)} must be at least 2")
        if self.state_dim % self.blocks:
            raise ValueError(f"rssm.state_dim={self.state_dim} is no multiple of blocks={self.blocks}; change one")
        if not 0 <= self.unimix < 1:
            raise ValueError(f"rssm.unimix={self.unimix} must be at least 0, and less than 1")
        for name in ("min_std", "symlog_range"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"rssm.{name}={getattr(self, name)} must be greater than 0, and finite")
        if not 0 <= self.free_nats < math.inf:
            raise ValueError(f"rssm.free_nats={self.free_nats} must be finite, and not negative")
