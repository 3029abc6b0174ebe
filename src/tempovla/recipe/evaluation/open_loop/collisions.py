"""Whether a car that follows a trajectory touches others or leaves the drivable surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools


@dataclass(frozen=True)
class Footprint:
    """The car's rectangle on the ground, in the ego frame, whose origin lies below the rear axle.

    Length and width are those with which ST-P3, UniAD and VAD count collisions.

    Attributes:
        length: [m].
        width: [m].
        middle: of the car, how far it lies ahead of the rear axle [m].
    """

    length: float = 4.084
    width: float = 1.85
    middle: float = 1.385

    def rectangles(self, poses: Array) -> Array:
        """Return the rectangles (..., 5) of the car at poses (..., 3): x, y, heading, length and width."""
        x = poses[..., 0] + self.middle * np.cos(poses[..., 2])
        y = poses[..., 1] + self.middle * np.sin(poses[..., 2])
        size = np.broadcast_to([self.length, self.width], (*poses.shape[:-1], 2))
        return np.concatenate([np.stack([x, y, poses[..., 2]], axis=-1), size], axis=-1)


def corners_of(rectangles: Array) -> Array:
    """Return the corners (..., 4, 2) of rectangles (..., 5): x, y, heading, length and width; counter-clockwise."""
    signs = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    offsets = signs * rectangles[..., None, 3:5] / 2
    cos, sin = np.cos(rectangles[..., 2])[..., None], np.sin(rectangles[..., 2])[..., None]
    x = cos * offsets[..., 0] - sin * offsets[..., 1]
    y = sin * offsets[..., 0] + cos * offsets[..., 1]
    return np.stack([x, y], axis=-1) + rectangles[..., None, :2]


def overlap(first: Array, second: Array) -> Bools:
    """Return which of P rectangles (P, 5) overlap with which of M (M, 5), as (P, M).

    Two rectangles are apart if they are so along one of their four sides' directions (separating axes; Gottschalk et
    al., 1996). Such that touch at their edges alone do not overlap.
    """
    corners = corners_of(first), corners_of(second)
    apart = np.zeros((len(first), len(second)), bool)
    for rectangles, along_rows in ((first, True), (second, False)):
        for quarter in (0.0, np.pi / 2):
            angle = rectangles[:, 2] + quarter
            axes = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
            own, other = corners if along_rows else corners[::-1]
            mine = np.einsum("ncd,nd->nc", own, axes)
            theirs = np.einsum("mcd,nd->nmc", other, axes)
            gap = (theirs.min(axis=2) >= mine.max(axis=1)[:, None]) | (theirs.max(axis=2) <= mine.min(axis=1)[:, None])
            apart |= gap if along_rows else gap.T
    return ~apart


def touches(poses: Array, boxes: Array, footprint: Footprint) -> Bools:
    """Return whether the car at each of P poses (P, 3) overlaps with any of M boxes (M, 5), as (P,)."""
    if not len(boxes):
        return np.zeros(len(poses), bool)
    return np.asarray(overlap(footprint.rectangles(poses), boxes).any(axis=1))
