"""An actor whose actions stay in [-1, 1]: a normal distribution that is cut off there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempovla.model.layers.normed_mlp import NormedMLP

MOSTLY = 2.0
"""Added to the raw standard deviation, so that a new actor tries nearly everything (DreamerV3)."""


@dataclass(frozen=True)
class TruncatedNormal:
    """A normal distribution that is cut off at -1 and 1; at least 0.47 of it lies inside where std is at most 1.

    Attributes:
        mean: (..., A) in [-1, 1], of the whole distribution; it is also the most likely action.
        std: (..., A) of the whole distribution.
    """

    mean: Tensor
    std: Tensor

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The bounds (..., A) in units of the standard deviation around the mean."""
        return (-1.0 - self.mean) / self.std, (1.0 - self.mean) / self.std

    def sample(self, draws: Tensor) -> Tensor:
        """Return actions (..., A) from uniform noise (..., A) in [0, 1)."""
        low, high = (torch.special.ndtr(bound) for bound in self.bounds)
        place = torch.special.ndtri(low + draws * (high - low))
        return (self.mean + self.std * place).clamp(-1.0, 1.0)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the logarithm of the density (...) of actions (..., A), all dimensions together."""
        low, high = self.bounds
        inside = torch.special.ndtr(high) - torch.special.ndtr(low)
        square = ((action - self.mean) / self.std).square()
        return (-0.5 * square - (self.std * inside).log() - 0.5 * math.log(2.0 * math.pi)).sum(dim=-1)

    def entropy(self) -> Tensor:
        """Return the entropy (...) [nat], all dimensions together."""
        low, high = self.bounds
        inside = torch.special.ndtr(high) - torch.special.ndtr(low)
        tilt = (low * _density(low) - high * _density(high)) / (2.0 * inside)
        return ((self.std * inside).log() + 0.5 * math.log(2.0 * math.pi * math.e) + tilt).sum(dim=-1)


def _density(x: Tensor) -> Tensor:
    """Of the standard normal distribution."""
    return (-0.5 * x.square()).exp() / math.sqrt(2.0 * math.pi)


class BoundedActor(nn.Module):
    """From the features of a state to a distribution of actions; at first around 0, and wide.

    Args:
        state_dim: size of the features.
        action_dim: dimensions A of an action.
        hidden_dim: width of the perceptron.
        num_layers: of the perceptron.
        min_std: least standard deviation.
        max_std: greatest one.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        hidden_dim: int = 512,
        num_layers: int = 3,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.min_std, self.max_std = min_std, max_std
        self.mlp = NormedMLP((state_dim, *(hidden_dim,) * num_layers, 2 * action_dim), zero_output=True)

    def forward(self, features: Tensor) -> TruncatedNormal:
        """Return distributions of actions (..., A) from features (..., state_dim)."""
        mean, spread = self.mlp(features).float().chunk(2, dim=-1)
        std = self.min_std + (self.max_std - self.min_std) * (spread + MOSTLY).sigmoid()
        return TruncatedNormal(mean.tanh(), std)
