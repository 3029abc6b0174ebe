"""The only masked mean, right also when a batch is spread over several processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together; 1 outside `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def masked_mean(value: Tensor, valid: Tensor) -> Tensor:
    """Mean of `value` (B, ..., *F) over all entries whose prefix in `valid` (B, ...) is True.

    Under `torch.distributed` the count is that of all processes and the sum is multiplied by their number, so that
    averaging the results (or, as DDP does, their gradients) over processes gives the mean over the whole batch, however
    unevenly the valid entries are spread. With nothing valid the result is 0, and so is its gradient.
    """
    total = mask_out(value, valid).sum()
    per_entry = value[0].numel() // max(valid[0].numel(), 1) if len(value) else 1
    count = valid.sum(dtype=total.dtype) * per_entry
    ranks = world_size()
    if ranks > 1:
        dist.all_reduce(count)
    return total * ranks / count.clamp(min=1)


def mask_out(value: Tensor, valid: Tensor) -> Tensor:
    """`value` (B, ..., *F) with 0 where `valid` (B, ...) is False; even NaN there leaves no trace or gradient."""
    if valid.dtype != torch.bool or value.shape[: valid.dim()] != valid.shape:
        raise ValueError(
            f"valid {tuple(valid.shape)} ({valid.dtype}) must be bool and a prefix of the value's {tuple(value.shape)}"
        )
    expanded = valid.reshape(valid.shape + (1,) * (value.dim() - valid.dim()))
    return torch.where(expanded, value, torch.zeros((), dtype=value.dtype, device=value.device))


def gather_rows(value: Tensor) -> Tensor:
    """Rows (B, D) of all processes as one (sum B, D), differentiable; the input itself in a single process."""
    if world_size() == 1:
        return value
    from torch.distributed.nn.functional import all_gather

    sizes = [torch.zeros((), dtype=torch.int64, device=value.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor(len(value), device=value.device))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([value, value.new_zeros(longest - len(value), *value.shape[1:])])
    parts = all_gather(padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])
