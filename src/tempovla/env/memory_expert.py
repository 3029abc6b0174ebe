"""Experts of the memory benchmark: one that knows the plan, and one that sees one frame and must guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tempovla.env.memory_tasks import GOAL_X_M, GOAL_Y_M, MEMORY_TASKS, Point

if TYPE_CHECKING:
    from tempovla.env.memory import MemoryEnv

_GAIN_PER_M = 20.0
_LOWEST_M, _HIGHEST_M, _UNDER_CONE_M = 0.03, 0.15, 0.03


class MemoryExpert:
    """Touches the next pad, and waits while the hand is held.

    Args:
        env: at the beginning of the episode.
    """

    def __init__(self, env: MemoryEnv) -> None:
        self._env = env

    def act(self) -> np.ndarray:
        """Return the expert's action here, (4,) float32 in [-1, 1]."""
        env = self._env
        if env.held or env.stage == len(env.plan.order):
            return _wait()
        return touch(env.fingers, env.plan.targets[env.plan.order[env.stage]])


class GuessingExpert:
    """The best that one frame allows: it sees the pads, but neither the cue nor the stage.

    Args:
        env: at the beginning of the episode.
        generator: of its guesses, one each time when the hand is let go.
    """

    def __init__(self, env: MemoryEnv, generator: np.random.Generator) -> None:
        self._env, self._generator = env, generator
        self._guess: Point | None = None

    def act(self) -> np.ndarray:
        """Return the action here, (4,) float32 in [-1, 1]."""
        if self._env.held:
            self._guess = None
            return _wait()
        if self._guess is None:
            self._guess = self._draw()
        return touch(self._env.fingers, self._guess)

    def _draw(self) -> Point:
        share = MEMORY_TASKS[self._env.task].first_pad_share
        if share is None:
            return self._generator.uniform(*GOAL_X_M), self._generator.uniform(*GOAL_Y_M)
        return self._env.plan.targets[0 if self._generator.random() < share else 1]


def touch(fingers: np.ndarray, where: Point) -> np.ndarray:
    """Down a cone around a place on the table, so that nothing beside it is touched; (4,) float32 in [-1, 1].

    Args:
        fingers: the middle of the fingers, (3,) [m].
        where: x and y [m].
    """
    distance = float(np.hypot(*(np.array(where) - fingers[:2])))
    height = np.clip(_LOWEST_M + distance - _UNDER_CONE_M, _LOWEST_M, _HIGHEST_M)
    displacement = _GAIN_PER_M * (np.array([*where, height]) - fingers)
    return np.append(np.clip(displacement, -1, 1), -1).astype(np.float32)


def _wait() -> np.ndarray:
    return np.array([0, 0, 0, -1], np.float32)
