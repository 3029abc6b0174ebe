"""The neighbours of places in sets of points.

Points that are not valid, such as padding, take part in nothing, whatever they hold. Results do not depend on the order
of the points: where distances are equal, their coordinates decide.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.sensor.points import canonical_order

_CELLS = 1 << 20
"""Cells to either side of the origin; points beyond the last one count as in it."""
_MARGIN = 1.001
"""How much longer a cell is than the radius, so that no rounding puts a neighbour into the cell after the next."""
_PAIRS = 1 << 22
"""Distances that are computed at once, roughly, which bounds the memory."""


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

    Neighbours are in the order of their distance, so that those that are there come first; the others are 0. Points are
    sorted into square columns as wide as the radius, so that only those of nine columns are looked at.

    Args:
        points: (B, N, 3) positions.
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
    points, centres = points[..., :3], centres[..., :3]
    order = canonical_order(points, valid)
    points = points.gather(1, order[..., None].expand(-1, -1, 3))
    columns = _columns(points, radius)
    if valid is not None:
        columns = torch.where(valid.gather(1, order), columns, -1)
    columns, place = columns.flatten().sort(stable=True)
    points, order = points.flatten(0, 1)[place], order.flatten()[place]
    first, counts = _ranges(columns, _columns(centres, radius), centres_valid)
    total = len(first)
    index = torch.zeros(total, max_neighbours, dtype=torch.int64, device=points.device)
    near = torch.zeros(total, max_neighbours, dtype=torch.bool, device=points.device)
    step = max(1, total * _PAIRS // max(1, int(counts.sum())))
    for start in range(0, total, step):
        some = slice(start, start + step)
        centre, point, rank = _nearest(points, centres.flatten(0, 1)[some], first[some], counts[some], radius)
        kept = rank < max_neighbours
        centre, point, rank = centre[kept] + start, point[kept], rank[kept]
        index[centre, rank] = order[point]
        near[centre, rank] = True
    return index.unflatten(0, centres.shape[:2]), near.unflatten(0, centres.shape[:2])


def _columns(points: Tensor, radius: float) -> Tensor:
    """Numbers (B, N) of the columns that points lie in, along x and then along y, and those of all rows apart."""
    side = 2 * _CELLS + 3
    x, y = (points[..., :2] / (radius * _MARGIN)).clamp(-_CELLS, _CELLS).nan_to_num().floor().long().unbind(dim=-1)
    row = torch.arange(points.shape[0], device=points.device)[:, None]
    return (row * side + x + _CELLS + 1) * side + y + _CELLS + 1


def _ranges(columns: Tensor, centres: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """First points (B M, 3) of three ranges around each centre, and their lengths.

    Columns side by side along y follow each other, so that nine of them are three ranges.
    """
    side = 2 * _CELLS + 3
    ahead = torch.arange(-1, 2, device=columns.device) * side
    middle = centres.flatten()[:, None] + ahead
    first, last = torch.searchsorted(columns, middle - 1), torch.searchsorted(columns, middle + 1, right=True)
    counts = last - first
    return first, counts if valid is None else counts.masked_fill(~valid.flatten()[:, None], 0)


def _nearest(
    points: Tensor, centres: Tensor, first: Tensor, counts: Tensor, radius: float
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a centre and a point within the radius: both their numbers, and the pair's rank by distance."""
    counts = counts.flatten()
    number = int(counts.sum())
    ranges = torch.arange(len(counts), device=counts.device).repeat_interleave(counts, output_size=number)
    begins = counts.cumsum(0) - counts
    point = torch.arange(number, device=counts.device) + (first.flatten() - begins)[ranges]
    centre = ranges // 3
    distance = torch.zeros(number, dtype=points.dtype, device=points.device)
    for mine, theirs in zip(centres.unbind(dim=-1), points.unbind(dim=-1), strict=True):
        distance += (mine[centre] - theirs[point]).square()
    (near,) = (distance <= radius * radius).nonzero(as_tuple=True)
    # The bits of floats that are not negative are ordered as the floats are, and sorted faster.
    bits = distance[near].view(torch.int64 if distance.dtype == torch.float64 else torch.int32)
    near = near[bits.argsort(stable=True)]
    near = near[centre[near].argsort(stable=True)]
    centre, point = centre[near], point[near]
    begins = torch.searchsorted(centre, torch.arange(len(centres), device=centre.device))
    return centre, point, torch.arange(len(centre), device=centre.device) - begins[centre]
