"""Plane geometry of roads and cars; all lengths in metres, all angles in radians."""

from __future__ import annotations

import math

import numpy as np

Points = np.ndarray
"""(N, 2) float64."""


def wrapped(angle: float) -> float:
    """Return an angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def distances_along(line: Points) -> np.ndarray:
    """Return how far each vertex of a line (N, 2) lies from its first one, along the line, (N,)."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])


def without_repeats(line: Points, least_m: float = 1e-3) -> Points:
    """Return a line without vertices that lie on the one before."""
    kept = np.concatenate([[True], np.hypot(*np.diff(line, axis=0).T) > least_m])
    return line[kept]


def resampled(line: Points, spacing_m: float) -> Points:
    """Return a line with vertices at a constant distance from each other along it, its two ends included."""
    along = distances_along(line)
    count = max(2, round(along[-1] / spacing_m) + 1)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1)


def directions(line: Points) -> np.ndarray:
    """Return the unit tangent at each vertex of a line, (N, 2)."""
    tangents = np.gradient(line, axis=0)
    return tangents / np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-9)


def beside(line: Points, left_m: float) -> Points:
    """Return a line that runs `left_m` to the left of another one."""
    along = directions(line)
    return line + left_m * np.stack([-along[:, 1], along[:, 0]], axis=1)


def headings(line: Points) -> np.ndarray:
    """Return the heading at each vertex of a line, without jumps of a full turn, (N,) [rad]."""
    along = directions(line)
    return np.unwrap(np.arctan2(along[:, 1], along[:, 0]))


def rotation(yaw: float) -> np.ndarray:
    """Return the (2, 2) matrix that turns vectors by an angle."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return np.array([[cosine, -sine], [sine, cosine]])


def corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners of rectangles, (N, 4, 2), counter-clockwise.

    Args:
        boxes: (N, 5) x and y of the centre, yaw, length, width.
    """
    along = np.stack([np.cos(boxes[:, 2]), np.sin(boxes[:, 2])], axis=1) * boxes[:, 3:4] / 2
    across = np.stack([-np.sin(boxes[:, 2]), np.cos(boxes[:, 2])], axis=1) * boxes[:, 4:5] / 2
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return np.stack([boxes[:, :2] + a * along + b * across for a, b in signs], axis=1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which rectangles overlap, by the separating axis theorem, (N,) bool.

    Args:
        boxes: (N, 5), or (5,) for all, x and y of the centre, yaw, length, width.
        others: (N, 5) of the same; row i is compared with row i.
    """
    if not len(others):
        return np.zeros(0, bool)
    boxes = np.broadcast_to(boxes, others.shape)
    mine, theirs = corners(boxes), corners(others)
    apart = np.zeros(len(others), bool)
    for yaw in (boxes[:, 2], others[:, 2]):
        for axis in (np.stack([np.cos(yaw), np.sin(yaw)], 1), np.stack([-np.sin(yaw), np.cos(yaw)], 1)):
            a = np.einsum("nck,nk->nc", mine, axis)
            b = np.einsum("nck,nk->nc", theirs, axis)
            apart |= (a.max(1) < b.min(1)) | (b.max(1) < a.min(1))
    return ~apart
