"""Meta-World's scripted experts: they know where everything is."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from tempovla.env.metaworld import MetaWorldEnv


class MetaWorldExpert:
    """The expert of the task that an environment plays."""

    def __init__(self, env: MetaWorldEnv) -> None:
        self._env, self._policy = env, _policy(env.task)

    def act(self) -> np.ndarray:
        """The expert's action here, (4,) float32, clipped to [-1, 1] as the simulator would."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each action beyond the range warns; clipping is what is wanted
            return np.clip(self._policy.get_action(self._env.privileged_observation), -1, 1).astype(np.float32)


@cache
def _policy(task: str) -> Any:
    from metaworld.policies import ENV_POLICY_MAP

    policy_class: Any = ENV_POLICY_MAP[task]
    return policy_class()
