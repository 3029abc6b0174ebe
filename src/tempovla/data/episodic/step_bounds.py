"""Upper bounds of how similar the steps of an episode can be to a query, from a few numbers per step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MAX_RANK = 16
"""Directions of an episode; smooth trajectories lie near a few, and each one costs time and memory."""
MAX_SHARE = 0.15
"""Bytes of the bounds in those of the keys, at most."""
MAX_TAIL = 0.7
"""Mean length outside the directions from which on bounds prune too little to be worth their memory."""


def rounding(width: int) -> np.float32:
    """Return a generous bound of the rounding error of float32 sums of `width` products of unit vectors."""
    return np.float32(4 * (width + MAX_RANK) * np.finfo(np.float32).eps)


@dataclass(frozen=True)
class StepBounds:
    """The unit keys of an episode, split into a part along a few directions of its own and the rest.

    With x = V'c + rest, a unit query q has q . x = Vq . c + (q's rest) . (x's rest), and by Cauchy and Schwarz the last
    product is at most that of both lengths. Every step's bound holds up to rounding, which is added to it.

    Attributes:
        directions: (R, K) float32, orthonormal: V.
        coordinates: (R + 1, T) float32: c of every step, and below it the length of its rest.
    """

    directions: Array
    coordinates: Array

    @classmethod
    def of(cls, keys: Array, inverse_norms: Array) -> Self | None:
        """Return the bounds of keys (T, K) and 1 / their lengths (T,); None for noise or very few steps."""
        steps, width = keys.shape
        rank = min(MAX_RANK, steps, width, int((MAX_SHARE * steps * width - steps) / (steps + width)))
        if rank < 1:
            return None
        unit = keys * inverse_norms[:, None]
        # No matrix products here and below: for pieces this small their threads wait for each other longer than they
        # compute, and on a busy machine very much longer.
        directions = _directions(unit[np.linspace(0, steps - 1, min(steps, 4 * rank)).astype(int)], rank)
        coordinates = np.empty((len(directions) + 1, steps), np.float32)
        np.vecdot(directions[:, None], unit, out=coordinates[:-1])
        unit -= np.einsum("rt,rk->tk", coordinates[:-1], directions)
        coordinates[-1] = np.linalg.norm(unit, axis=1)
        return cls(directions, coordinates) if coordinates[-1].mean() <= MAX_TAIL else None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values())

    def upper(self, queries: Array) -> Array:
        """Return bounds that no step's cosine similarity, computed in float32, exceeds.

        Args:
            queries: (B, K) of length 1 (or 0).

        Returns:
            (B, T).
        """
        slack = rounding(queries.shape[1])
        along = np.empty((len(queries), len(self.coordinates)), np.float32)
        np.vecdot(self.directions, queries[:, None], out=along[:, :-1])
        along[:, -1] = np.sqrt(np.maximum(1 - np.vecdot(along[:, :-1], along[:, :-1]), 0) + slack)
        bound = np.einsum("br,rt->bt", along, self.coordinates)
        bound += slack
        return bound


def _directions(sample: Array, rank: int) -> Array:
    """At most `rank` orthonormal directions (R, K) of steps (N, K): each time what the others miss most of a step.

    Any directions give bounds that hold. Those of steps in even distances tell where a smooth trajectory lies.
    """
    left = sample.astype(np.float64)
    found: list[NDArray[np.float64]] = []
    for _ in range(rank):
        lengths = np.vecdot(left, left)
        farthest = lengths.argmax()
        if lengths[farthest] < 1e-8:
            break
        direction = left[farthest] / np.sqrt(lengths[farthest])
        for other in found:  # once more, for what rounding has left of them
            direction = direction - np.vecdot(other, direction) * other
        direction /= np.sqrt(np.vecdot(direction, direction))
        left -= np.vecdot(left, direction)[:, None] * direction
        found.append(direction)
    return np.asarray(found or np.zeros((1, sample.shape[1])), np.float32)
