"""Variance and covariance regularisers over a batch of representations (VICReg, Bardes et al., 2022, eq. 1-4)."""

from __future__ import annotations

import torch
from torch import Tensor


def variance(z: Tensor, target_std: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """Hinge that keeps the standard deviation of every dimension of z (N, D) above `target_std`.

    0 when no dimension has collapsed; 1 (for the default target) when all have. 0 for fewer than two rows.
    """
    if len(z) < 2:
        return z.sum() * 0.0
    std = torch.sqrt(z.float().var(dim=0) + epsilon)
    return torch.relu(target_std - std).mean()


def std(z: Tensor) -> Tensor:
    """Return the mean over the dimensions of the standard deviation of z (N, D): a figure to watch. 0 for fewer than
    two rows.
    """
    if len(z) < 2:
        return z.sum() * 0.0
    return z.float().std(dim=0).mean()


def covariance(z: Tensor) -> Tensor:
    """Return the sum of the squared off-diagonal covariances of z (N, D), divided by D: 0 when dimensions are
    uncorrelated.
    """
    if len(z) < 2:
        return z.sum() * 0.0
    centred = z.float() - z.float().mean(dim=0)
    matrix = centred.T @ centred / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
