"""Trajectories that need no sensors: what every policy has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools

_STRAIGHT_RAD_S = 1e-6
_CONSTANT, _FAR = 1e-6, 10.0
"""Standard deviation below which a status is constant, and how many of them it may lie from the mean."""


def standstill(state: Array, horizon: int, rate_hz: float) -> Array:
    """Return trajectories (N, H, 3) of cars that stand, whatever their status (N, 4)."""
    return np.zeros((len(state), horizon, 3))


def constant_velocity(state: Array, horizon: int, rate_hz: float) -> Array:
    """Return trajectories (N, H, 3) of cars that go straight on with the speed of their status (N, 4)."""
    poses = np.zeros((len(state), horizon, 3))
    poses[..., 0] = state[:, :1] * _times(horizon, rate_hz)
    return poses


def constant_turn_rate(state: Array, horizon: int, rate_hz: float) -> Array:
    """Return trajectories (N, H, 3) of cars that keep the speed and the yaw rate of their status (N, 4): arcs."""
    speed, rate = state[:, :1], state[:, 2:3]
    turned = rate * _times(horizon, rate_hz)
    straight = np.abs(rate) < _STRAIGHT_RAD_S
    radius = speed / np.where(straight, 1.0, rate)
    x = np.where(straight, speed * _times(horizon, rate_hz), radius * np.sin(turned))
    y = np.where(straight, 0.0, radius * (1 - np.cos(turned)))
    return np.stack([x, y, turned], axis=-1)


def _times(horizon: int, rate_hz: float) -> Array:
    return np.arange(1, horizon + 1, dtype=np.float64) / rate_hz


PHYSICAL = {
    "standstill": standstill,
    "constant velocity": constant_velocity,
    "constant turn rate": constant_turn_rate,
}
"""Baselines that nothing is learned for, by name."""


def with_commands(state: Array, words: Sequence[str], known: Sequence[str]) -> Array:
    """Return the status (N, S) with what the navigator says, as (N, S + C): one of C `known` words is 1."""
    said = np.array([[float(word == other) for other in known] for word in words])
    return np.concatenate([state, said.reshape(len(state), len(known))], axis=1)


def fit_and_predict(
    known: Array, poses: Array, valid: Bools, asked: Array, *, steps: int = 300, width: int = 64, seed: int = 0
) -> Array:
    """Return trajectories (M, H, 3) by a small MLP of the car's status alone, learned here from N others.

    AD-MLP (Zhai et al., 2023) showed that such a network reaches the open-loop errors of policies that see.

    Args:
        known: (N, S) status of the car in the training scenes.
        poses: (N, H, 3) that followed there.
        valid: (N, H) which of these are known.
        asked: (M, S) status from which to predict.
        steps: of the optimiser, each over all N.
        width: of the two hidden layers.
        seed: of the weights at the beginning.

    Raises:
        ValueError: if there is nothing to learn from.
    """
    if not valid.any():
        raise ValueError(f"none of {len(known)} training samples has a known future; give longer scenes")
    mean, spread = known.mean(axis=0), known.std(axis=0)

    def scaled(status: Array) -> torch.Tensor:
        # What is constant in the training scenes, such as a command that none has, teaches nothing, and what is far
        # from them would be multiplied without bounds.
        told = np.where(spread > _CONSTANT, (status - mean) / np.maximum(spread, _CONSTANT), 0.0)
        return torch.from_numpy(told.clip(-_FAR, _FAR)).float()

    scale = np.sqrt((poses**2 * valid[..., None]).sum(axis=0) / np.maximum(valid.sum(axis=0), 1)[:, None]) + 1e-3
    inputs = scaled(known)
    targets = torch.from_numpy(poses / scale).float()
    weight = torch.from_numpy(valid[..., None] * np.ones(3)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(known.shape[1], width), nn.GELU(), nn.Linear(width, width), nn.GELU()),
            nn.Linear(width, poses.shape[1] * 3),
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            told = network(inputs).view_as(targets)
            loss = ((told - targets).abs() * weight).sum() / weight.sum()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        told = network(scaled(asked)).view(len(asked), *poses.shape[1:])
    return told.double().numpy() * scale


def folds_of(scene: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Return the fold (N,) of each sample by its scene (N,), so that all samples of a scene are in one."""
    _, number = np.unique(scene, return_inverse=True)
    return np.asarray(number % folds, np.int64)
