"""What the recurrent mixers share: an explicit state, and packing of valid steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MixerState:
    """All that one mixer remembers, in float32 (float64 for a float64 model), whatever autocast says.

    Attributes:
        conv: (batch, d_conv - 1, channels) the last inputs of the causal convolution, newest last.
        ssm: (batch, ...) the state of the recurrence.
    """

    conv: Tensor
    ssm: Tensor

    def reset(self, rows: Tensor) -> MixerState:
        """The same state with the rows where `rows` (batch,) bool is True as new."""
        return MixerState(*(_zero_rows(x, rows) for x in (self.conv, self.ssm)))


def _zero_rows(x: Tensor, rows: Tensor) -> Tensor:
    return x.masked_fill(rows.view(-1, *[1] * (x.ndim - 1)), 0.0)


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
    """Where a row of `lengths` (batch,) valid steps has ended: (batch, length) bool."""
    return torch.arange(length, device=lengths.device) >= lengths.unsqueeze(1)
