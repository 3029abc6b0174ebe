"""What followed each action of an episode, as streams.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tempovla.timeline.keys import DONE_KEY, REWARD_KEY, SUCCESS_KEY, TERMINATED_KEY

Outcomes = dict[str, NDArray[np.float32] | NDArray[np.bool_]]


def outcomes(rewards: ArrayLike, successes: ArrayLike, *, world_ended: bool = False) -> Outcomes:
    """Return the streams of a whole episode of T steps: `next.reward` (T, 1) float32, `next.success`,
    `next.done` and `next.terminated` (T, 1) bool.

    The value at step t is what followed the action of step t. The episode is over after the last step alone.

    Args:
        rewards: of each step.
        successes: whether the task was solved after each step.
        world_ended: whether the world ended with the last step, so that no reward could follow; not where the time was
            up, or an evaluation was over because the task was solved.
    """
    done = np.zeros((np.size(rewards), 1), np.bool_)
    done[-1:] = True
    return {
        REWARD_KEY: np.asarray(rewards, np.float32).reshape(-1, 1),
        SUCCESS_KEY: np.asarray(successes, np.bool_).reshape(-1, 1),
        DONE_KEY: done,
        TERMINATED_KEY: done & world_ended,
    }
