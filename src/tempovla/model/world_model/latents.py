"""Stochastic states of recurrent state-space models: how they are drawn, and how far two of them are apart.

A distribution is its raw parameters (..., R), as a network gives them. Noise comes from outside, so that draws follow
from a row's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.timeline.noise import row_normal, row_uniform


class Latent(Protocol):
    """A kind of stochastic state."""

    @property
    def raw_dim(self) -> int:
        """Number R of raw parameters."""

    @property
    def value_dim(self) -> int:
        """Size V of a state."""

    def noise(self, seed: Tensor, steps: Sequence[int] = (), stream: int = 0) -> Tensor:
        """Return the noise (B, *steps, S) from which states are drawn, from seeds (B,)."""

    def sample(self, raw: Tensor, noise: Tensor) -> Tensor:
        """Return states (..., V) through which gradients flow, from raw parameters (..., R) and noise (..., S)."""

    def mode(self, raw: Tensor) -> Tensor:
        """Return the most likely states (..., V)."""

    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the divergence KL(first, second) (...) float32 of raw parameters (..., R) [nat]."""


@dataclass(frozen=True)
class CategoricalLatent:
    """S variables of C classes each, as S * C numbers of which one in each variable is 1.

    Gradients go through a draw as if it were its probabilities (straight-through; Bengio et al., 2013). Probabilities
    are mixed with the uniform distribution (DreamerV3, Hafner et al., 2023).

    Attributes:
        variables: S.
        classes: C.
        unimix: share of the uniform distribution.
    """

    variables: int
    classes: int
    unimix: float

    @property
    def raw_dim(self) -> int:
        """Number R of raw parameters."""
        return self.variables * self.classes

    @property
    def value_dim(self) -> int:
        """Size V of a state."""
        return self.variables * self.classes

    def shares(self, raw: Tensor) -> Tensor:
        """Return probabilities (..., S, C) float32."""
        plain = raw.unflatten(-1, (self.variables, self.classes)).float().softmax(dim=-1)
        return (1.0 - self.unimix) * plain + self.unimix / self.classes

    def noise(self, seed: Tensor, steps: Sequence[int] = (), stream: int = 0) -> Tensor:
        """Return uniform noise (B, *steps, S)."""
        return row_uniform(seed, (*steps, self.variables), stream=stream)

    def sample(self, raw: Tensor, noise: Tensor) -> Tensor:
        """Return states (..., V): in each variable the class in whose part of [0, 1) the noise lies."""
        shares = self.shares(raw)
        passed = shares.detach().cumsum(dim=-1) <= noise[..., None]
        return self._chosen(shares, passed.sum(dim=-1).clamp(max=self.classes - 1), raw.dtype)

    def mode(self, raw: Tensor) -> Tensor:
        """Return the most likely states (..., V)."""
        shares = self.shares(raw)
        return self._chosen(shares, shares.argmax(dim=-1), raw.dtype)

    def _chosen(self, shares: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
        one_hot = F.one_hot(index, self.classes).to(shares)
        return (one_hot + (shares - shares.detach())).flatten(-2).to(dtype)

    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the sum of the divergences (...) of all variables."""
        one = self.shares(first)
        if self.unimix == 0:  # shares may round to 0, whose logarithm has no gradient
            log_one, log_other = (
                raw.unflatten(-1, (self.variables, self.classes)).float().log_softmax(dim=-1) for raw in (first, second)
            )
            return (one * (log_one - log_other)).sum(dim=(-2, -1))
        other = self.shares(second)
        return (torch.xlogy(one, one) - torch.xlogy(one, other)).sum(dim=(-2, -1))


@dataclass(frozen=True)
class GaussianLatent:
    """S independent normal variables.

    Attributes:
        variables: S.
        min_std: least standard deviation.
    """

    variables: int
    min_std: float

    @property
    def raw_dim(self) -> int:
        """Number R of raw parameters."""
        return 2 * self.variables

    @property
    def value_dim(self) -> int:
        """Size V of a state."""
        return self.variables

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (..., S) float32."""
        mean, spread = raw.float().chunk(2, dim=-1)
        return mean, F.softplus(spread) + self.min_std

    def noise(self, seed: Tensor, steps: Sequence[int] = (), stream: int = 0) -> Tensor:
        """Return normal noise (B, *steps, S)."""
        return row_normal(seed, (*steps, self.variables), stream=stream)

    def sample(self, raw: Tensor, noise: Tensor) -> Tensor:
        """Return states (..., V)."""
        mean, std = self.moments(raw)
        return (mean + std * noise).to(raw.dtype)

    def mode(self, raw: Tensor) -> Tensor:
        """Return the means (..., V)."""
        return self.moments(raw)[0].to(raw.dtype)

    def kl(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the sum of the divergences (...) of all variables."""
        mean, std = self.moments(first)
        other_mean, other_std = self.moments(second)
        apart = (std.square() + (mean - other_mean).square()) / other_std.square() - 1.0
        return (0.5 * apart + other_std.log() - std.log()).sum(dim=-1)


def latent_of(config: RSSMConfig) -> Latent:
    """Return the kind of stochastic state that a config names."""
    if config.latent == "gaussian":
        return GaussianLatent(config.variables, config.min_std)
    return CategoricalLatent(config.variables, config.classes, config.unimix)
