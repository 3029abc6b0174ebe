"""Meta-World's scripted experts, which know the positions of all objects."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


class MetaWorldExpert:
    """The expert of a task.

    Args:
        task: its name.
        observe: returns Meta-World's own observation of the moment, (39,) float64 with object and goal.
    """

    def __init__(self, task: str, observe: Callable[[], np.ndarray]) -> None:
        self._observe, self._policy = observe, _policy(task)

    def act(self) -> np.ndarray:
        """Return the expert's action here, (4,) float32, clipped to [-1, 1] as the simulator would."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each action beyond the range warns; clipping is what is wanted
            return np.clip(self._policy.get_action(self._observe()), -1, 1).astype(np.float32)


@cache
def _policy(task: str) -> Any:
    from metaworld.policies import ENV_POLICY_MAP

    policy_class: Any = ENV_POLICY_MAP[task]
    return policy_class()
