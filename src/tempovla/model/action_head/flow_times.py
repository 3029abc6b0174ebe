"""Flow times that favour noise, from a Beta distribution, as a pure function of uniform numbers."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

GRID = 4097
"""Points at which the distribution function is tabulated."""


def beta_flow_time(uniform: Tensor, alpha: float, beta: float, s: float) -> Tensor:
    """Return flow times (s - b) / s in [0, 1] for b from Beta(alpha, beta); noise is at 0, actions are at 1.

    Args:
        uniform: any shape, in [0, 1).
        alpha: of the distribution.
        beta: of the distribution.
        s: where b gives flow time 0; greater b, which are rare, do so as well.
    """
    drawn = uniform ** (1.0 / alpha) if beta == 1.0 else _quantile(uniform, alpha, beta)
    return ((s - drawn) / s).clamp(0.0, 1.0)


def bucket_of(flow_time: Tensor, buckets: int) -> Tensor:
    """Return the numbers of flow times in [0, 1] among so many buckets, int64."""
    return (flow_time * buckets).long().clamp(0, buckets - 1)


def _quantile(uniform: Tensor, alpha: float, beta: float) -> Tensor:
    """The value below which a Beta distribution has this share, by interpolation in a table."""
    table = _distribution(alpha, beta).to(uniform.device)
    right = torch.searchsorted(table, uniform.double().contiguous()).clamp(1, GRID - 1)
    low, high = table[right - 1], table[right]
    share = (uniform - low) / (high - low).clamp(min=1e-300)
    return ((right - 1 + share.clamp(0.0, 1.0)) / (GRID - 1)).float()


@functools.lru_cache(maxsize=8)
def _distribution(alpha: float, beta: float) -> Tensor:
    """The distribution function at equal steps from 0 to 1, float64.

    With x = sin(angle)^2 the density has no poles for exponents of 1/2 and above.
    """
    fine = 16
    angle = torch.linspace(0.0, torch.pi / 2, fine * (GRID - 1) + 1, dtype=torch.float64)
    middle = (angle[1:] + angle[:-1]) / 2
    density = middle.sin() ** (2 * alpha - 1) * middle.cos() ** (2 * beta - 1)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), density.cumsum(0)])
    at = angle.sin() ** 2
    grid = torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
    right = torch.searchsorted(at, grid).clamp(1, len(at) - 1)
    share = (grid - at[right - 1]) / (at[right] - at[right - 1])
    return (total[right - 1] + share * (total[right] - total[right - 1])) / total[-1]
