"""How widely values spread, as a statistic that follows a training."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn


class RunningScale(nn.Module):
    """Running distance between the 5th and the 95th percentile of values, of which less than 1 counts as 1.

    Args:
        tau: share of the newest distance in the running one.
        raises: what counts as 1 at least: `each` distance (TD-MPC2), or their running `mean` (DreamerV3).
    """

    def __init__(self, tau: float = 0.01, raises: Literal["each", "mean"] = "each") -> None:
        super().__init__()
        self.tau, self.raises = tau, raises
        self.value: Tensor
        self.register_buffer("value", torch.ones(()))
        self._latest: Tensor | None = None

    @property
    def divisor(self) -> Tensor:
        """What values are divided by, at least 1."""
        return self.value.clamp(min=1.0)

    @torch.no_grad()
    def add(self, values: Tensor, valid: Tensor) -> None:
        """Take in values (N,) for the next `update`, of which those count that are `valid` (N,) bool; without any of
        these, nothing moves.
        """
        seen = torch.where(valid, values.float(), torch.nan)
        low, high = torch.nanquantile(seen, torch.tensor([0.05, 0.95], device=seen.device)).unbind()
        apart = (high - low).clamp(min=1.0) if self.raises == "each" else high - low
        self._latest = torch.where(valid.any(), apart, self.value)

    @torch.no_grad()
    def update(self) -> None:
        """Move the running distance by what was added since, averaged over all processes."""
        latest, self._latest = self._latest, None
        if latest is None:
            return
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(latest)
            latest = latest / dist.get_world_size()
        self.value.lerp_(latest, self.tau)
