"""Errors of trajectories in the plane, under the conventions in which papers report them.

A trajectory of H control steps is (H, 3): the poses x [m], y [m] and heading [rad] after 1 to H steps, in the ego frame
of now. Arrays of N trajectories are (N, H, 3), those of K modes (N, K, H, 3).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

HORIZONS_S = (1.0, 2.0, 3.0)
"""Times at which open-loop figures are told [s]."""
Convention = Literal["uniad", "stp3"]
CONVENTIONS: dict[Convention, str] = {
    "uniad": "at the time (UniAD)",
    "stp3": "mean up to the time (ST-P3, VAD)",
}
"""What a figure at 1, 2 or 3 s means. UniAD (Hu et al., 2023) takes the waypoint at that time alone, ST-P3 (Hu et al.,
2022) and VAD (Jiang et al., 2023) the mean over all waypoints up to it, which is about half of it."""
MISS_M = 2.0
"""A trajectory misses if it is further off than this at any time, as in nuScenes' prediction challenge [m]."""


def poses_of(steps: Array) -> Array:
    """Return the poses (..., H, 3) after 1 to H steps (..., H, 3): forward [m], left [m] and turn [rad].

    Each step is given in the frame of the pose before it, the first in that of now.
    """
    turned = np.cumsum(steps[..., 2], axis=-1)
    before = turned - steps[..., 2]
    cos, sin = np.cos(before), np.sin(before)
    x = np.cumsum(cos * steps[..., 0] - sin * steps[..., 1], axis=-1)
    y = np.cumsum(sin * steps[..., 0] + cos * steps[..., 1], axis=-1)
    return np.stack([x, y, turned], axis=-1)


def relative_to(pose: Array, origin: Array) -> Array:
    """Return poses (..., 3) in the frame of other poses (..., 3) that are given in the same frame."""
    ahead = pose - origin
    cos, sin = np.cos(origin[..., 2]), np.sin(origin[..., 2])
    forward = cos * ahead[..., 0] + sin * ahead[..., 1]
    left = cos * ahead[..., 1] - sin * ahead[..., 0]
    return np.stack([forward, left, ahead[..., 2]], axis=-1)


def known_poses(valid: Bools) -> Bools:
    """Return (N, H) which poses are known: those up to which all steps (N, H) are valid."""
    return np.cumprod(valid, axis=-1).astype(bool)


def distances(predicted: Array, true: Array) -> Array:
    """Return how far predicted poses (..., H, 3) are from the true ones (..., H, 3), (..., H) [m]."""
    return np.hypot(predicted[..., 0] - true[..., 0], predicted[..., 1] - true[..., 1])


def at_time(values: Array, known: Bools, steps: int, convention: Convention) -> tuple[Array, Bools]:
    """Return a figure of each trajectory at a time, and of which trajectories it is known.

    Args:
        values: (N, H) of each pose.
        known: (N, H) of which poses.
        steps: the time [control steps], at most H.
        convention: whether the value at the time or the mean up to it is meant.

    Returns:
        The figure (N,), 0 where it is not known, and whether it is known (N,).

    Raises:
        ValueError: if the trajectories are shorter.
    """
    if not 1 <= steps <= values.shape[1]:
        raise ValueError(f"steps={steps} must be from 1 to {values.shape[1]}, the length of the trajectories")
    is_known = np.asarray(known[:, :steps].all(axis=1))
    told = values[:, steps - 1] if convention == "uniad" else values[:, :steps].mean(axis=1)
    return np.where(is_known, told, 0.0), is_known


def displacement_errors(distance: Array) -> tuple[Array, Array, Bools]:
    """Return the mean and the final error of trajectories by their distances (..., H), and whether they miss.

    Returns:
        ADE (...,) [m], FDE (...,) [m], and which are further off than `MISS_M` at any time (...,).
    """
    return distance.mean(axis=-1), distance[..., -1], np.asarray((distance > MISS_M).any(axis=-1))


def best_of(modes: Array, probability: Array, true: Array, k: int) -> tuple[Array, Array, Bools]:
    """Return the errors of the best of each sample's k most probable modes, each error by its own best mode.

    Args:
        modes: (N, K, H, 3).
        probability: (N, K).
        true: (N, H, 3).
        k: number of modes, from 1 to K.

    Returns:
        minADE_k (N,) [m], minFDE_k (N,) [m], and which samples all k modes miss (N,).

    Raises:
        ValueError: if there are fewer modes.
    """
    if not 1 <= k <= modes.shape[1]:
        raise ValueError(f"k={k} must be from 1 to {modes.shape[1]}, the number of modes")
    chosen = np.argsort(-probability, axis=1, kind="stable")[:, :k]
    distance = np.take_along_axis(distances(modes, true[:, None]), chosen[..., None], axis=1)
    mean, final, missed = displacement_errors(distance)
    return mean.min(axis=1), final.min(axis=1), np.asarray(missed.all(axis=1))
