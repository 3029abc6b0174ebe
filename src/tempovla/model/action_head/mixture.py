"""Mixtures of diagonal Gaussians, and their likelihood as a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.timeline import LossTerm

MAX_LOG_STD = 2.0


@dataclass(frozen=True)
class GaussianMixture:
    """Distributions (*batch,) over vectors of size E.

    Attributes:
        logits: (*batch, K) of the modes' weights.
        mean: (*batch, K, E).
        log_std: (*batch, K, E).
    """

    logits: Tensor
    mean: Tensor
    log_std: Tensor

    def log_prob(self, value: Tensor, valid: Tensor) -> Tensor:
        """Return the log density (*batch,) of the entries of value (*batch, E) where `valid` (*batch, E) is True."""
        distance = (value.unsqueeze(-2) - self.mean) * torch.exp(-self.log_std)
        entries = -0.5 * distance.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        of_modes = torch.where(valid.unsqueeze(-2), entries, 0.0).sum(dim=-1)
        return torch.logsumexp(self.logits.log_softmax(dim=-1) + of_modes, dim=-1)

    def draw(self, uniform: Tensor, normal: Tensor, std_scale: float = 1.0) -> Tensor:
        """Return samples (*batch, E) from uniform (*batch,) and normal (*batch, E) numbers; differentiable, the mode
        apart.
        """
        below = uniform.unsqueeze(-1) >= self.logits.softmax(dim=-1).cumsum(dim=-1)
        mean, log_std = self.mode(below.sum(dim=-1).clamp(max=self.logits.shape[-1] - 1))
        return mean + std_scale * log_std.exp() * normal

    def mode(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log_std (*batch, E) of the modes of an index (*batch,)."""
        at = index[..., None, None].expand(*index.shape, 1, self.mean.shape[-1])
        mean, log_std = (x.gather(-2, at).squeeze(-2) for x in (self.mean, self.log_std))
        return mean, log_std


def likelihood_term(log_prob: Tensor, valid: Tensor) -> LossTerm:
    """Return the loss term whose masked mean is the negative sum of log densities over the number of valid entries.

    Args:
        log_prob: (*batch,) log density of all valid entries of an event together.
        valid: (*batch, *event) bool.
    """
    event = tuple(range(log_prob.dim(), valid.dim()))
    share = -log_prob / valid.sum(dim=event).clamp(min=1)
    return LossTerm(share.reshape(share.shape + (1,) * len(event)).expand(valid.shape), None, valid, kind="mean")
