"""Common parts of recurrent mixers: explicit state, packing of valid steps, checks and initial step sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tempovla.model.layers.row_state import RowState


@dataclass(frozen=True)
class MixerState(RowState):
    """The state of one mixer, in float32 (float64 for a float64 model) even under autocast.

    Attributes:
        conv: (batch, d_conv - 1, channels) the last inputs of the causal convolution, newest last.
        ssm: (batch, ...) the state of the recurrence.
    """

    conv: Tensor
    ssm: Tensor


def pack_valid(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move the valid steps of each row to its front, in order, and put zeros behind them.

    Args:
        x: (batch, length, features).
        valid: (batch, length) bool.

    Returns:
        The packed steps like `x`; how many of them are valid (batch,); where each came from (batch, length),
        as `unpack_valid` takes it.
    """
    order = valid.byte().argsort(dim=1, descending=True, stable=True)
    packed = x.masked_fill(~valid.unsqueeze(2), 0.0).take_along_dim(order.unsqueeze(2), dim=1)
    return packed, valid.sum(1), order


def unpack_valid(packed: Tensor, valid: Tensor, order: Tensor) -> Tensor:
    """Undo `pack_valid` for outputs (batch, length, features): each to its step, zeros where `valid` is False."""
    x = packed.take_along_dim(order.argsort(dim=1).unsqueeze(2), dim=1)
    return x.masked_fill(~valid.unsqueeze(2), 0.0)


def mask_after(lengths: Tensor, length: int) -> Tensor:
    """Return (batch, length) bool: True behind the end of a row of `lengths` (batch,) valid steps."""
    return torch.arange(length, device=lengths.device) >= lengths.unsqueeze(1)


def check_config(config: Any, *sizes: str) -> None:
    """Raise ValueError unless the named fields are positive and the step sizes make a range."""
    kind = type(config).__name__
    for name in sizes:
        if getattr(config, name) < 1:
            raise ValueError(f"{kind}.{name}={getattr(config, name)} must be at least 1")
    if not 0 < config.dt_min <= config.dt_max:
        raise ValueError(f"{kind}.dt_min={config.dt_min} must be above 0 and at most dt_max={config.dt_max}")


def init_step_bias(bias: Tensor, dt_min: float, dt_max: float) -> None:
    """Fill `bias` so that softplus(bias) is log-uniform in [dt_min, dt_max] (Mamba paper, section 3.6)."""
    with torch.no_grad():
        steps = torch.empty_like(bias).uniform_(math.log(dt_min), math.log(dt_max)).exp_()
        bias.copy_(steps + torch.log(-torch.expm1(-steps)))
