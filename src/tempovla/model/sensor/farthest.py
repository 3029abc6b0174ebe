"""How farthest points are sampled: for a whole batch at once, or row by row on a CPU, looking at few points each time.

Both make the same choices, bit for bit. Points are given in their canonical order, those that are not there last.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

import numpy as np
import torch
from torch import Tensor

_MARGIN = 1e-6
"""By how much more than exactly needed is looked at, in relation, so that rounding leaves nothing out."""


def sample(points: Tensor, number: Tensor, count: int) -> Tensor:
    """Return the samples (B, count) int64, the first of which is the farthest point from the origin.

    Args:
        points: (B, N, 3) float32 or float64, sorted by x, and 0 where not there.
        number: (B,) int64, how many points at the front of each row are there; rows without any are all 0.
        count: how many to sample.
    """
    axes = points.transpose(1, 2).contiguous()
    if points.device.type != "cpu" or torch.compiler.is_compiling():
        return at_once(axes, number, count)
    rows = [in_slabs(row[:, :there].numpy(), count) for row, there in zip(axes, number.tolist(), strict=True)]
    return torch.from_numpy(np.stack(rows))


def at_once(axes: Tensor, number: Tensor, count: int) -> Tensor:
    """Return the samples (B, count) by computing all distances (B, N) for each of them.

    Args:
        axes: (B, 3, N), the coordinates.
        number: see `sample`.
        count: see `sample`.
    """
    there = torch.arange(axes.shape[2], device=axes.device) < number[:, None]
    distance = _sums(axes.square()).masked_fill(~there, -1.0)
    nearest = torch.full_like(distance, torch.inf).masked_fill(~there, -1.0)  # which no minimum changes
    chosen = torch.empty(axes.shape[0], count, dtype=torch.int64, device=axes.device)
    for index in range(count):
        chosen[:, index] = distance.argmax(dim=1)
        if index < count - 1:
            at = chosen[:, index, None, None].expand(-1, 3, 1)
            nearest = distance = torch.minimum(nearest, _sums((axes - axes.gather(2, at)).square_()))
    return torch.where(number[:, None] > 0, chosen, 0)


def _sums(squares: Tensor) -> Tensor:
    return squares[:, 0] + squares[:, 1] + squares[:, 2]


def in_slabs(axes: np.ndarray, count: int) -> np.ndarray:
    """Return the samples (count,) of one row, computing only distances that may matter for each of them.

    No point is farther from the samples than the next sample is, which so comes nearer only to points that are within
    this distance along x. They are side by side, as the points are sorted.

    Args:
        axes: (3, N), the coordinates of the points that are there.
        count: see `sample`.
    """
    chosen = np.zeros(count, np.int64)
    if not axes.shape[1]:
        return chosen
    x, y, z = axes
    places, points = x.tolist(), np.ascontiguousarray(axes.T)[:, :, None]
    nearest = np.full_like(x, np.inf)
    at = int((x * x + y * y + z * z).argmax())
    for index in range(count):
        chosen[index] = at
        reach = math.sqrt(nearest[at]) * (1.0 + _MARGIN)
        low, high = bisect_left(places, places[at] - reach), bisect_right(places, places[at] + reach)
        near, squares = nearest[low:high], axes[:, low:high] - points[at]
        np.multiply(squares, squares, out=squares)
        distance = squares[0]
        np.add(distance, squares[1], out=distance)
        np.add(distance, squares[2], out=distance)
        np.minimum(near, distance, out=near)
        at = int(nearest.argmax())
    return chosen
