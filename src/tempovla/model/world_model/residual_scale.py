"""How large the errors of a prediction usually are, as statistics that follow a training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

SPREAD = 100.0
"""Most by which one dimension counts more than another."""


class ResidualScale(nn.Module):
    """Running variance of pooled residuals in each dimension, and the running norm of whole residuals.

    Nothing here is learned by gradient: weights that a loss may choose make that loss small by being small.

    Args:
        dim: dimensions D of a pooled residual.
        momentum: of the running means.
    """

    def __init__(self, dim: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.variance: Tensor
        self.norm: Tensor
        self.updates: Tensor
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("norm", torch.zeros(1))
        self.register_buffer("updates", torch.zeros(1))
        self._sums: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """(D,) inverse variances with a mean of 1, none further from 1 than `SPREAD` allows; without gradient."""
        inverse = 1.0 / self.variance.clamp(min=1e-12)
        inverse = (inverse / inverse.median()).clamp(1.0 / SPREAD, SPREAD)
        return inverse / inverse.mean()

    @torch.no_grad()
    def add(self, pooled: Tensor, norm: Tensor, valid: Tensor) -> None:
        """Take in residuals of a batch for the next `update`.

        Args:
            pooled: (B, D).
            norm: (B,) of the whole residuals.
            valid: (B,) bool.
        """
        rows = valid[:, None]
        parts = [
            torch.where(rows, pooled.float(), 0.0).square().sum(0),
            torch.where(valid, norm.float(), 0.0).sum()[None],
        ]
        sums = torch.cat([*parts, valid.sum()[None].float()])
        self._sums = sums if self._sums is None else self._sums + sums

    @torch.no_grad()
    def update(self) -> None:
        """Move the running means by what was added since, over all processes; nothing valid moves nothing."""
        sums, self._sums = self._sums, None
        if sums is None:
            return
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        count = sums[-1]
        some = count > 0
        means = sums[:-1] / count.clamp(min=1.0)
        kept = torch.where(self.updates > 0, self.momentum, 0.0)
        for running, mean in ((self.variance, means[:-1]), (self.norm, means[-1:])):
            running.copy_(torch.where(some, kept * running + (1.0 - kept) * mean, running))
        self.updates.add_(some.float())
