"""The only masked means: over a batch, also when it is spread over several processes, and over many batches."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes that train together; 1 outside `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def masked_mean(value: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of `value` (B, ..., *F) over all entries whose prefix in `valid` (B, ...) is True.

    Under `torch.distributed` the count is that of all processes and the sum is multiplied by their number, so that
    averaging the results (or, as DDP does, their gradients) over processes gives the mean over the whole batch, however
    unevenly the valid entries are spread. With nothing valid the result is 0, and so is its gradient.
    """
    return masked_mean_and_count(value, valid)[0]


def masked_mean_and_count(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return `masked_mean`, and the number of valid entries of all processes."""
    total, count = masked_sum(value, valid)
    ranks = world_size()
    if ranks > 1:
        dist.all_reduce(count)
    return total * ranks / count.clamp(min=1), count


def masked_sum(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of `value` (B, ..., *F) over all entries whose prefix in `valid` (B, ...) is True, and how many
    entries these are; both scalars, of this process alone.
    """
    total = mask_out(value, valid).sum()
    per_entry = value[0].numel() // max(valid[0].numel(), 1) if len(value) else 1
    return total, valid.sum(dtype=total.dtype) * per_entry


class RunningMean:
    """Masked mean per feature over many batches, of which only sums are kept, in float64.

    Attributes:
        count: valid entries so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._totals: list[Tensor] = []

    def add(self, value: Tensor, valid: Tensor) -> None:
        """Take in `value` (B, ..., *F) where its prefix `valid` (B, ...) is True."""
        self._totals.append(value[valid].double().sum(dim=0))
        self.count += int(valid.sum())

    @property
    def mean(self) -> Tensor:
        """(*F) float64; 0 with nothing valid."""
        return torch.stack(self._totals).sum(dim=0) / max(self.count, 1)


def mask_out(value: Tensor, valid: Tensor) -> Tensor:
    """`value` (B, ..., *F) with 0 where `valid` (B, ...) is False; even NaN there leaves no trace or gradient."""
    if valid.dtype != torch.bool or value.shape[: valid.dim()] != valid.shape:
        raise ValueError(
            f"valid {tuple(valid.shape)} ({valid.dtype}) must be bool and a prefix of the value's {tuple(value.shape)}"
        )
    expanded = valid.reshape(valid.shape + (1,) * (value.dim() - valid.dim()))
    return torch.where(expanded, value, torch.zeros((), dtype=value.dtype, device=value.device))


def gather_rows(value: Tensor) -> Tensor:
    """Return rows (B, D) of all processes as one (sum B, D); the input itself in a single process.

    Its gradient is right for a loss that every process computes alike from all rows, and whose gradients are then
    averaged over processes, as DDP does.
    """
    if world_size() == 1:
        return value
    gathered: Tensor = _GatherRows.apply(value)
    return gathered


class _GatherRows(torch.autograd.Function):
    """All rows forward; backward, the gradient at the own rows times the processes that averaging divides by."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        sizes = [torch.zeros((), dtype=torch.int64, device=value.device) for _ in range(world_size())]
        dist.all_gather(sizes, torch.tensor(len(value), device=value.device))
        rows = [int(size) for size in sizes]
        padded = torch.cat([value, value.new_zeros(max(rows) - len(value), *value.shape[1:])])
        parts = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(parts, padded)
        start = sum(rows[: dist.get_rank()])
        ctx.own_rows = slice(start, start + len(value))
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][ctx.own_rows] * world_size()
