"""Rotations and poses in space, all in float64: unit quaternions are w, x, y, z; poses are 4 x 4 matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ALMOST_PARALLEL = 1 - 1e-10


def rotation_matrices(quaternions: ArrayLike) -> Array:
    """Return rotation matrices (..., 3, 3) of quaternions (..., 4), which are normalised first."""
    q = np.asarray(quaternions, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternions(matrices: ArrayLike) -> Array:
    """Return quaternions (..., 4), with w at least 0, of rotation matrices (..., 3, 3)."""
    m = np.asarray(matrices, dtype=np.float64)
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Row i of this symmetric matrix is 4 q_i q; the row with the largest q_i is the exact one.
    products = np.empty((*m.shape[:-2], 4, 4))
    products[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        products[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
        products[..., 0, i + 1] = products[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        products[..., i + 1, j + 1] = products[..., j + 1, i + 1] = m[..., j, i] + m[..., i, j]
    largest = np.argmax(np.diagonal(products, axis1=-2, axis2=-1), axis=-1)
    rows = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.where(rows[..., :1] < 0, -rows, rows)


def yaw_quaternions(yaws: ArrayLike) -> Array:
    """Return quaternions (..., 4) of turns (...) about z [rad]."""
    half = np.asarray(yaws, dtype=np.float64) / 2
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1)


def yaws(matrices: ArrayLike) -> Array:
    """Return headings (...) of the x axes of poses or rotations (..., >= 3, >= 3) in the plane [rad]."""
    m = np.asarray(matrices, dtype=np.float64)
    return np.arctan2(m[..., 1, 0], m[..., 0, 0])


def pose_matrices(translations: ArrayLike, rotations: ArrayLike) -> Array:
    """Return poses (..., 4, 4) of translations (..., 3) [m] and quaternions (..., 4)."""
    moved = np.asarray(translations, dtype=np.float64)
    poses = np.zeros((*moved.shape[:-1], 4, 4))
    poses[..., :3, :3] = rotation_matrices(rotations)
    poses[..., :3, 3] = moved
    poses[..., 3, 3] = 1.0
    return poses


def inverse(poses: Array) -> Array:
    """Return the inverses (..., 4, 4) of poses (..., 4, 4)."""
    turned = np.swapaxes(poses[..., :3, :3], -1, -2)
    result = np.zeros_like(poses)
    result[..., :3, :3] = turned
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", turned, poses[..., :3, 3])
    result[..., 3, 3] = 1.0
    return result


def move_points(pose: Array, points: ArrayLike) -> Array:
    """Return points (N, 3) [m] after a pose (4, 4)."""
    return np.asarray(points, dtype=np.float64) @ pose[:3, :3].T + pose[:3, 3]


def planar(poses: Array) -> Array:
    """Return x [m], y [m] and yaw [rad] (..., 3) of poses (..., 4, 4)."""
    return np.stack([poses[..., 0, 3], poses[..., 1, 3], yaws(poses)], axis=-1)


def interpolate(times: NDArray[np.int64], translations: Array, rotations: Array, asked: NDArray[np.int64]) -> Array:
    """Return poses (T, 4, 4) at asked times between known ones: straight lines, and turns at a constant rate.

    Args:
        times: (N,) increasing, N >= 1.
        translations: (N, 3) [m].
        rotations: (N, 4) quaternions.
        asked: (T,) times; before the first known one and after the last one, those hold.
    """
    after = np.clip(np.searchsorted(times, asked, side="right"), 1, max(len(times) - 1, 1)).clip(max=len(times) - 1)
    before = np.maximum(after - 1, 0)
    span = np.maximum(times[after] - times[before], 1)
    share = np.clip((asked - times[before]) / span, 0.0, 1.0)[:, None]
    moved = (1 - share) * translations[before] + share * translations[after]
    return pose_matrices(moved, _slerp(rotations[before], rotations[after], share))


def _slerp(one: Array, other: Array, share: Array) -> Array:
    """Quaternions (T, 4) on the shorter arc between two, a share (T, 1) of the way along."""
    one, other = (q / np.linalg.norm(q, axis=-1, keepdims=True) for q in (one, other))
    cosine = (one * other).sum(axis=-1, keepdims=True)
    other = np.where(cosine < 0, -other, other)
    cosine = np.abs(cosine)
    straight = cosine > _ALMOST_PARALLEL  # where the arc and its chord are the same
    angle = np.arccos(np.where(straight, 0.0, np.clip(cosine, -1.0, 1.0)))
    arc = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.sin(angle)
    mixed = np.where(straight, (1 - share) * one + share * other, arc)
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
