"""Sets of points: choosing some that cover the set.

Points that are not valid, such as padding, take part in nothing, whatever they hold. Results do not depend on the order
of the points: where distances are equal, the point with the smaller coordinates comes first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tempovla.model.sensor.encoder_config import Sampling
from tempovla.model.sensor.farthest import sample
from tempovla.storage.extras import install_command


@torch.no_grad()
def canonical_order(points: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the order (B, N) int64 of points by x, then y, then z; points that are not valid come last.

    Args:
        points: (B, N, 3).
        valid: (B, N) bool; None where all are.
    """
    keys = points[..., :3] if valid is None else torch.where(valid[..., None], points[..., :3], torch.inf)
    bits = _ordered_bits(keys)
    order = bits[..., 2].argsort(dim=1, stable=True)
    for key in (
        ((bits[..., 0] << 32) + bits[..., 1],) if keys.dtype != torch.float64 else bits[..., :2].flip(-1).unbind(-1)
    ):
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    return order


def _ordered_bits(numbers: Tensor) -> Tensor:
    """Whole numbers int64 in the order of the given ones, which are sorted in half the time.

    Those of float32 are from -2^31 to 2^31 - 1, so that two fit into one number.
    """
    exact = numbers.dtype == torch.float64
    numbers = (numbers if exact else numbers.float()) + 0.0  # so that 0 and -0 are the same
    bits = numbers.view(torch.int64 if exact else torch.int32)
    return (bits ^ ((bits >> (63 if exact else 31)) & (2**63 - 1 if exact else 2**31 - 1))).long()


@torch.no_grad()
def farthest_point_sampling(
    points: Tensor, count: int, valid: Tensor | None = None, backend: Sampling = "torch"
) -> Tensor:
    """Return the indices (B, count) int64 of points that cover the set (Eldar et al., 1997).

    The first one is the valid point that is farthest from the origin. Each further one is the point whose distance to
    its nearest chosen point is largest. A row with fewer valid points than `count` repeats some of them, so that the
    sample at place j is a new one only where j is below their number; in a row without valid points all are 0.

    Args:
        points: (B, N, 3) positions, with N at least 1.
        count: number of samples, at least 1.
        valid: (B, N) bool, which points are there; None where all are.
        backend: `torch`, or `quickfps`, a package that sorts points into buckets (Han et al., 2023). It makes the same
            choices in a third of the time, except that between points whose distances are equal it chooses by a
            rule of its own. Batches in which a row has fewer valid points than `count` are left to `torch`.

    Raises:
        ValueError: if there are no points to choose from, none is to be chosen, or the backend is not installed.
    """
    if points.dim() != 3 or points.shape[1] < 1 or count < 1:
        raise ValueError(f"points {tuple(points.shape)} and count={count}: give (B, N, 3) and at least one of each")
    if backend == "quickfps":
        found = _by_buckets(quickfps_module(), points[..., :3], count, valid)
        if found is not None:
            return found
    order = canonical_order(points, valid)
    points = points[..., :3].gather(1, order[..., None].expand(-1, -1, 3))
    points = points if points.dtype == torch.float64 else points.float()
    number = torch.full_like(points[:, 0, 0], points.shape[1]).long() if valid is None else valid.sum(dim=1)
    there = torch.arange(points.shape[1], device=points.device) < number[:, None]
    chosen = order.gather(1, sample(torch.where(there[..., None], points, 0.0), number, count))
    return torch.where(number[:, None] > 0, chosen, 0)


def quickfps_module() -> Any:
    """Return the module `torch_quickfps`.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import torch_quickfps
    except ImportError:
        raise ValueError(
            f"sampling='quickfps' needs 'torch-quickfps'; install it with: {install_command('points')}, or choose "
            "sampling='torch'"
        ) from None
    return torch_quickfps


def _by_buckets(module: Any, points: Tensor, count: int, valid: Tensor | None) -> Tensor | None:
    """Samples (B, count) of points (B, N, 3), or None where a row has too few valid ones."""
    least = points.shape[1] if valid is None else int(valid.sum(dim=1).min())
    if least < count:
        return None
    points = points.float()
    mask = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device) if valid is None else valid
    points = torch.where(mask[..., None], points, 0.0)
    start = points.square().sum(dim=2).masked_fill(~mask, -1.0).argmax(dim=1)
    # It begins at the same place in every row, so that each row's first sample is moved to place 0.
    rows = torch.arange(len(points), device=points.device)
    points, mask = points.clone(), mask.clone()
    for values in (points, mask):
        first, other = values[:, 0].clone(), values[rows, start]
        values[rows, start], values[:, 0] = first, other
    chosen = module.sample_idx(points, count, start_idx=0, mask=None if valid is None else mask)
    begin = start[:, None]
    return torch.where(chosen == 0, begin, torch.where(chosen == begin, 0, chosen))


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """Return the values (B, ..., F) of the points with the indices (B, ...) out of values (B, N, F)."""
    flat = index.flatten(1)
    found = values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1]))
    return found.view(*index.shape, values.shape[-1])
