"""Sets of points: choosing some that cover the set, and finding the neighbours of places.

Points that are not valid, such as padding, take part in nothing, whatever they hold. Results do not depend on the order
of the points: where distances are equal, the point with the smaller coordinates comes first.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 22
"""Distances that are computed at once, which bounds the memory of `ball_query`."""


@torch.no_grad()
def canonical_order(points: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the order (B, N) int64 of points by x, then y, then z; points that are not valid come last.

    Args:
        points: (B, N, 3).
        valid: (B, N) bool; None where all are.
    """
    keys = points[..., :3] if valid is None else torch.where(valid[..., None], points[..., :3], torch.inf)
    order = keys[..., 2].argsort(dim=1, stable=True)
    for axis in (1, 0):
        order = order.gather(1, keys[..., axis].gather(1, order).argsort(dim=1, stable=True))
    return order


@torch.no_grad()
def farthest_point_sampling(points: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Return the indices (B, count) int64 of points that cover the set (Eldar et al., 1997).

    The first one is the valid point that is farthest from the origin. Each further one is the point whose distance to
    its nearest chosen point is largest. A row with fewer valid points than `count` repeats some of them, so that the
    sample at place j is a new one only where j is below their number; in a row without valid points all are 0.

    Args:
        points: (B, N, 3) positions, with N at least 1.
        count: number of samples, at least 1.
        valid: (B, N) bool, which points are there; None where all are.

    Raises:
        ValueError: if there are no points to choose from, or none is to be chosen.
    """
    if points.dim() != 3 or points.shape[1] < 1 or count < 1:
        raise ValueError(f"points {tuple(points.shape)} and count={count}: give (B, N, 3) and at least one of each")
    order = canonical_order(points, valid)
    points = points[..., :3].gather(1, order[..., None].expand(-1, -1, 3))
    points = points if points.dtype == torch.float64 else points.float()
    if valid is not None:
        valid = valid.gather(1, order)
        points = torch.where(valid[..., None], points, 0.0)
    chosen = _farthest(points, count, valid)
    chosen = order.gather(1, chosen)
    return chosen if valid is None else torch.where(valid.any(dim=1, keepdim=True), chosen, 0)


def _farthest(points: Tensor, count: int, valid: Tensor | None) -> Tensor:
    """Samples (B, count) of points (B, N, 3) that are in their canonical order and 0 where not valid."""
    axes = points.transpose(1, 2).contiguous()
    start = axes.square().sum(dim=1)
    nearest = torch.full_like(start, torch.inf)
    if valid is not None:
        start.masked_fill_(~valid, -1.0)
        nearest.masked_fill_(~valid, -1.0)  # the minimum with any distance stays -1
    chosen = torch.empty(points.shape[0], count, dtype=torch.int64, device=points.device)
    difference, distance = torch.empty_like(axes), start
    for index in range(count):
        torch.argmax(distance, dim=1, out=chosen[:, index])
        if index == count - 1:
            break
        at = chosen[:, index, None, None].expand(-1, 3, 1)
        torch.sub(axes, axes.gather(2, at), out=difference)
        difference.square_()
        distance = difference[:, 0].add_(difference[:, 1]).add_(difference[:, 2])
        distance = torch.minimum(nearest, distance, out=nearest)
    return chosen


@torch.no_grad()
def ball_query(
    points: Tensor,
    centres: Tensor,
    radius: float,
    max_neighbours: int,
    valid: Tensor | None = None,
    centres_valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the nearest points (B, M, K) int64 within a radius of each centre, and which (B, M, K) bool are there.

    Neighbours are in the order of their distance, so that those that are there come first; the others are 0.

    Args:
        points: (B, N, 3) positions, with N at least 1.
        centres: (B, M, 3) positions.
        radius: largest distance of a neighbour [m].
        max_neighbours: number K; where more points are near, the nearest ones are taken.
        valid: (B, N) bool, which points are there; None where all are.
        centres_valid: (B, M) bool; the others have no neighbours. None where all are there.

    Raises:
        ValueError: if the radius is not above 0, or no neighbour is to be found.
    """
    if not radius > 0 or max_neighbours < 1:
        raise ValueError(f"radius={radius} and max_neighbours={max_neighbours} must be above 0")
    order = canonical_order(points, valid)
    points = points[..., :3].gather(1, order[..., None].expand(-1, -1, 3))
    if valid is not None:
        points = torch.where(valid.gather(1, order)[..., None], points, torch.inf)
    if centres_valid is not None:
        centres = torch.where(centres_valid[..., None], centres, torch.nan)  # which is near to nothing
    found = min(max_neighbours, points.shape[1])
    step = max(1, _CHUNK // max(1, points.shape[0] * points.shape[1]))
    parts = [_nearest(points, part, radius, found) for part in centres[..., :3].split(step, dim=1)]
    index, near = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
    index = order[:, None].expand(-1, index.shape[1], -1).gather(2, index).masked_fill(~near, 0)
    missing = max_neighbours - found
    if missing:
        index, near = (torch.nn.functional.pad(each, (0, missing)) for each in (index, near))
    return index, near


def _nearest(points: Tensor, centres: Tensor, radius: float, count: int) -> tuple[Tensor, Tensor]:
    """The `count` nearest points of each centre (B, m, count), the nearest first, and which are within the radius."""
    distance = torch.zeros(1, dtype=points.dtype, device=points.device)
    for axis in range(3):
        distance = distance + (centres[:, :, None, axis] - points[:, None, :, axis]).square()
    distance = torch.where(distance <= radius * radius, distance, torch.inf)
    distance, index = distance.sort(dim=2, stable=True)
    return index[..., :count], distance[..., :count] < torch.inf


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """Return the values (B, ..., F) of the points with the indices (B, ...) out of values (B, N, F)."""
    flat = index.flatten(1)
    found = values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1]))
    return found.view(*index.shape, values.shape[-1])
