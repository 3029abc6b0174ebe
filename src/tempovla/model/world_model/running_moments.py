"""Mean and spread of each dimension of a vector, as statistics that follow a training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

LEAST_STD = 1e-3
"""Added to every spread in squares, so that noise in a dimension that hardly varies is not magnified."""
LIMIT = 5.0
"""Largest normalised number; a dimension that begins to vary late is far out at first."""


class RunningMoments(nn.Module):
    """Normalises vectors by the running mean and standard deviation of their dimensions.

    Until the first update it changes nothing but what lies beyond `LIMIT`.

    Args:
        dim: dimensions D.
        tau: share of the newest moments in the running ones; the first updates have equal shares.
    """

    def __init__(self, dim: int, tau: float = 1e-3) -> None:
        super().__init__()
        self.tau = tau
        self.mean: Tensor
        self.variance: Tensor
        self.updates: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._sums: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors (..., D) float32, normalised."""
        scale = (self.variance.float() + LEAST_STD**2).rsqrt()
        return ((x.float() - self.mean.float()) * scale).clamp(-LIMIT, LIMIT)

    @torch.no_grad()
    def add(self, x: Tensor, valid: Tensor) -> None:
        """Take in vectors (N, D) for the next `update`, of which those count that are `valid` (N,) bool."""
        seen = torch.where(valid[:, None], x.double(), 0.0)  # float32 loses a small spread around a large mean
        count = valid.sum().double().expand(1, x.shape[1])
        sums = torch.cat([count, seen.sum(dim=0, keepdim=True), seen.square().sum(dim=0, keepdim=True)])
        self._sums = sums if self._sums is None else self._sums + sums

    @torch.no_grad()
    def update(self) -> None:
        """Move the running moments by what was added since, by all processes; without any of it, nothing moves."""
        sums, self._sums = self._sums, None
        if sums is None:
            return
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        count = sums[0].clamp(min=1.0)
        mean = sums[1] / count
        variance = (sums[2] / count - mean.square()).clamp(min=0.0).to(self.variance)
        self.updates += (sums[0, 0] > 0).long()
        share = torch.where(sums[0] > 0, (1.0 / self.updates.clamp(min=1).float()).clamp(min=self.tau), 0.0)
        moved = mean.to(self.mean) - self.mean
        self.mean += share * moved
        self.variance += share * (variance + (1.0 - share) * moved.square() - self.variance)
