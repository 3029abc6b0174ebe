"""Meta-World's scripted experts, and episodes played by them.

An episode is simulated first and drawn afterwards: drawing is most of the cost and only successes are worth it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tempovla.env.metaworld import ACTION_DIMS, MetaWorldEnv

_GRIPPER = ACTION_DIMS - 1


@dataclass(frozen=True)
class ActionNoise:
    """Disturbance of the hand's three axes while an expert plays, so that its corrections are seen too.

    AR(1): e[t] = correlation * e[t-1] + sqrt(1 - correlation^2) * sigma * w[t], w standard normal, so that each e[t]
    has standard deviation sigma. sigma is drawn once an episode, uniformly from [0, max_sigma].

    Attributes:
        max_sigma: in units of the action, whose range is [-1, 1].
        correlation: from one control step to the next.
    """

    max_sigma: float = 0.5
    correlation: float = 0.9


@dataclass(frozen=True)
class ExpertEpisode:
    """What an expert did in one episode of T steps.

    Attributes:
        executed: (T, 4) float32, the actions that moved the robot, noise included.
        labels: (T, 4) float32, what the expert wanted at those moments: the actions to imitate.
        states: (T, 4) float32, `observation.state` before each action.
        success: whether the task was solved at some step.
        noise_sigma: the noise's standard deviation in this episode.
    """

    task: str
    seed: int
    executed: np.ndarray
    labels: np.ndarray
    states: np.ndarray
    success: bool
    noise_sigma: float


def rollout_expert(
    env: MetaWorldEnv,
    seed: int,
    *,
    task: str | None = None,
    noise: ActionNoise | None = None,
    binary_gripper: bool = False,
    steps_after_success: int = 5,
) -> ExpertEpisode:
    """Let the task's expert play one episode without drawing anything.

    The noise disturbs what is executed, not what is recorded as label: the label at a state is always what the expert
    would do there.

    Args:
        env: made with `terminate_on_success=False`.
        seed: of the layout and of the noise.
        task: to switch to; None keeps the environment's.
        noise: None for none.
        binary_gripper: replace the gripper's effort by its sign (-1 open where it is 0 or less, else +1 closed).
        steps_after_success: control steps played on after the first success; the rest of the episode is idle.

    Raises:
        ValueError: if the environment would end the episode at its success.
    """
    if env.config.terminate_on_success:
        raise ValueError("rollout_expert needs an environment with terminate_on_success=False")
    env.reset_state(seed=seed, task=task)
    expert = _expert(env.task)
    generator = np.random.default_rng([seed, 1])
    sigma = generator.uniform(0, noise.max_sigma) if noise else 0.0
    disturbance = sigma * generator.standard_normal(_GRIPPER)
    executed, labels, states, remaining, success = [], [], [], env.config.max_steps, False
    while remaining > 0:
        label = expert_action(expert, env.privileged_observation)
        if binary_gripper:
            label[_GRIPPER] = 1.0 if label[_GRIPPER] > 0 else -1.0
        action = label.copy()
        action[:_GRIPPER] = np.clip(action[:_GRIPPER] + disturbance, -1, 1)
        states.append(env.state)
        labels.append(label)
        executed.append(action)
        _, _, _, info = env.advance(action)
        remaining -= 1
        if info["success"] and not success:
            success, remaining = True, min(remaining, steps_after_success)
        if noise:
            innovation = np.sqrt(1 - noise.correlation**2) * sigma * generator.standard_normal(_GRIPPER)
            disturbance = noise.correlation * disturbance + innovation
    return ExpertEpisode(env.task, seed, np.stack(executed), np.stack(labels), np.stack(states), success, float(sigma))


def replay(env: MetaWorldEnv, episode: ExpertEpisode) -> list[dict[str, np.ndarray]]:
    """Play an episode's executed actions again and observe before each: T observations, images included."""
    env.reset_state(seed=episode.seed, task=episode.task)
    observations = []
    for action in episode.executed:
        observations.append(env.observe())
        env.advance(action)
    return observations


def expert_action(expert: Any, privileged_observation: np.ndarray) -> np.ndarray:
    """The expert's action (4,) float32, clipped to [-1, 1] as the simulator would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each action beyond the range warns; clipping is what is wanted
        return np.clip(expert.get_action(privileged_observation), -1, 1).astype(np.float32)


@cache
def _expert(task: str) -> Any:
    from metaworld.policies import ENV_POLICY_MAP

    policy_class: Any = ENV_POLICY_MAP[task]
    return policy_class()
