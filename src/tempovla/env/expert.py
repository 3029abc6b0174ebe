"""Episodes of scripted experts, with noise that makes them correct mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tempovla.env.protocol import SimulatorEnv

_GRIPPER = -1
_POSITION_AXES = 3


@dataclass(frozen=True)
class ActionNoise:
    """Disturbance of the hand while an expert plays, so that its corrections are seen too.

    AR(1): e[t] = correlation * e[t-1] + sqrt(1 - correlation^2) * sigma * w[t], w standard normal, so that each e[t]
    has standard deviation sigma. sigma is drawn once an episode, uniformly from [0, max_sigma].

    Attributes:
        max_sigma: in units of the action, whose range is [-1, 1].
        correlation: from one control step to the next.
        rotation_share: sigma of the hand's rotation, where the action has one, per sigma of its position.
    """

    max_sigma: float = 0.5
    correlation: float = 0.9
    rotation_share: float = 0.3

    def __post_init__(self) -> None:
        if not self.max_sigma >= 0:
            raise ValueError(f"noise={self.max_sigma} must not be negative; 0 is none")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"noise_correlation={self.correlation} must be at least 0 and less than 1")


@dataclass(frozen=True)
class ExpertEpisode:
    """Record of an expert's episode of T steps.

    Attributes:
        init_state: the fixed initial state that it began from; None where the seed drew the placement.
        executed: (T, A) float32, the actions that moved the robot, noise included.
        labels: (T, A) float32, what the expert wanted at those moments: the actions to imitate.
        states: (T, S) float32, `observation.state` before each action.
        success: whether the task was solved at some step.
        rewards: (T,) the simulator's reward for each action.
        successes: (T,) bool, whether the task was solved after each action.
        world_ended: whether the simulator said after the last action that its world ended.
        noise_sigma: the noise's standard deviation in this episode.
        simulator: (T, ...) by name, what the simulator's own tools want to know of the moment before each action;
            empty where they want nothing.
    """

    task: str
    seed: int
    init_state: int | None
    executed: np.ndarray
    labels: np.ndarray
    states: np.ndarray
    success: bool
    rewards: np.ndarray
    successes: np.ndarray
    world_ended: bool
    noise_sigma: float
    simulator: dict[str, np.ndarray] = field(default_factory=dict)


def rollout_expert(
    env: SimulatorEnv,
    seed: int,
    *,
    task: str | None = None,
    init_state: int | None = None,
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
        init_state: the fixed initial state to begin from, where the simulator has some.
        noise: None for none.
        binary_gripper: replace the gripper's effort by its sign (-1 open where it is 0 or less, else +1 closed).
        steps_after_success: control steps played on after the first success; the rest of the episode is idle.

    Raises:
        ValueError: if the environment would end the episode at its success, or for a task without an expert.
    """
    if env.config.terminate_on_success:
        raise ValueError("rollout_expert needs an environment with terminate_on_success=False")
    env.reset_state(seed=seed, task=task, init_state=init_state)
    expert = env.expert()
    generator = np.random.default_rng([seed, 1])
    sigma = generator.uniform(0, noise.max_sigma) if noise else 0.0
    bounds = env.config.spaces()[1]
    low, high = bounds.low[:_GRIPPER], bounds.high[:_GRIPPER]
    hand_axes = low.size
    scale = sigma * np.where(np.arange(hand_axes) < _POSITION_AXES, 1.0, noise.rotation_share if noise else 0.0)
    disturbance = scale * generator.standard_normal(hand_axes)
    executed, labels, states, simulator = [], [], [], []
    rewards, successes = [], []
    success, truncated, world_ended, remaining = False, False, False, steps_after_success
    while not truncated and not (success and remaining == 0):
        label = expert.act()
        if binary_gripper:
            label[_GRIPPER] = 1.0 if label[_GRIPPER] > 0 else -1.0
        action = label.copy()
        action[:_GRIPPER] = np.clip(action[:_GRIPPER] + disturbance, low, high)
        states.append(env.state)
        simulator.append(env.simulator_record())
        labels.append(label)
        executed.append(action)
        reward, world_ended, truncated, info = env.advance(action)
        rewards.append(reward)
        successes.append(info["success"])
        remaining -= success
        success |= info["success"]
        if noise:
            innovation = np.sqrt(1 - noise.correlation**2) * scale * generator.standard_normal(hand_axes)
            disturbance = noise.correlation * disturbance + innovation
    columns = {name: np.stack([record[name] for record in simulator]) for name in simulator[0]}
    return ExpertEpisode(
        env.task,
        seed,
        init_state,
        np.stack(executed),
        np.stack(labels),
        np.stack(states),
        bool(success),
        np.array(rewards),
        np.array(successes, bool),
        bool(world_ended),
        float(sigma),
        columns,
    )


def replay(env: SimulatorEnv, episode: ExpertEpisode) -> list[dict[str, np.ndarray]]:
    """Play an episode's executed actions again and observe before each: T observations, images included."""
    env.reset_state(seed=episode.seed, task=episode.task, init_state=episode.init_state)
    observations = []
    for action in episode.executed:
        observations.append(env.observe())
        env.advance(action)
    return observations
