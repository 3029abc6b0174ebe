"""Variance and covariance regularisers over a batch of representations (VICReg, Bardes et al., 2022, eq. 1-4)."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.objective.reduce import mask_out


def variance(z: Tensor, valid: Tensor | None = None, target_std: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """Hinge that keeps the standard deviation of every dimension of z (N, D) above `target_std`.

    0 when no dimension has collapsed; 1 (for the default target) when all have. 0 for fewer than two `valid` (N,) rows,
    which are all rows if left out.
    """
    centred, count = _centred(z, valid)
    std = torch.sqrt(_mean_square(centred, count) + epsilon)
    return torch.where(count > 1, torch.relu(target_std - std).mean(), 0.0)


def std(z: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean over the dimensions of the standard deviation of z (N, D): a figure to watch. 0 for fewer than
    two `valid` (N,) rows, which are all rows if left out.
    """
    centred, count = _centred(z, valid)
    squares = torch.where(count > 1, _mean_square(centred, count), 1.0)
    return torch.where(count > 1, squares.sqrt().mean(), 0.0)


def std_within(z: Tensor, group: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much rows of one group differ: a figure to watch, and what it rests on. Nothing leaves the device.

    The variance of a dimension is pooled over groups: the sum of squared distances from the mean of each group, divided
    by the rows less the number of groups. Rows that are alone in their group count for nothing.

    Args:
        z: (N, D).
        group: (N, L) int64; rows with equal numbers are of one group.
        valid: (N,) bool; other rows count for nothing.

    Returns:
        The mean over the dimensions of the standard deviation, and its degrees of freedom; both 0 without two valid
        rows of one group.
    """
    same = valid[:, None] & valid
    for column in group.unbind(dim=1):
        same = same & (column[:, None] == column)
    size = same.sum(dim=1)
    weight = same.to(z.dtype) / size.clamp(min=1)[:, None].to(z.dtype)
    z = mask_out(z, valid)
    apart = mask_out(z - weight @ z, size > 1).square().sum(dim=0)
    freedom = torch.where(size > 1, 1.0 - 1.0 / size.clamp(min=1).to(z.dtype), 0.0).sum()
    return (apart / freedom.clamp(min=1.0)).sqrt().mean(), freedom


def covariance(z: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the sum of the squared off-diagonal covariances of z (N, D), divided by D: 0 when dimensions are
    uncorrelated, and for fewer than two `valid` (N,) rows, which are all rows if left out.
    """
    centred, count = _centred(z, valid)
    matrix = centred.T @ centred / (count - 1).clamp(min=1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


def _centred(z: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return z (N, D) less the mean of its valid rows, with 0 in the others, and how many are valid. Nothing leaves
    the device, as a choice of rows by a mask would.
    """
    z = z if z.dtype == torch.float64 else z.float()
    valid = torch.ones(len(z), dtype=torch.bool, device=z.device) if valid is None else valid
    z, count = mask_out(z, valid), valid.sum()
    return mask_out(z - z.sum(dim=0) / count.clamp(min=1), valid), count


def _mean_square(centred: Tensor, count: Tensor) -> Tensor:
    """Return the unbiased variance (D,) of rows (N, D) of which `count` are valid and the others are 0."""
    return centred.square().sum(dim=0) / (count - 1).clamp(min=1)
