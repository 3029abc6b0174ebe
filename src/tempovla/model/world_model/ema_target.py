"""A slowly moving copy of an encoder, as the target of a prediction in its own representation (BYOL, JEPA)."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn


def ema_momentum(start: float, train_step: int, total_steps: int, schedule: str) -> float:
    """Return the momentum at a step: `constant`, or `cosine` from `start` to 1.0 over `total_steps` (I-JEPA, BYOL)."""
    if schedule == "constant":
        return start
    if schedule != "cosine":
        raise ValueError(f"ema_momentum_schedule={schedule!r} is unknown; choose constant or cosine")
    progress = min(train_step / max(total_steps, 1), 1.0)
    return 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0


class EmaTarget(nn.Module):
    """A copy of `online` without gradient: target = m * target + (1 - m) * online after every step."""

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(online).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Return the copy's output, without gradient."""
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float) -> None:
        """Move towards `online`; buffers are copied."""
        targets = [p.detach() for p in self.module.parameters()]
        torch._foreach_lerp_(targets, [p.detach() for p in online.parameters()], 1.0 - momentum)
        for target, source in zip(self.module.buffers(), online.buffers(), strict=True):
            target.copy_(source)
