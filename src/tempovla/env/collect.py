"""Demonstrations of scripted experts, made by several processes and returned one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tempovla.env.expert import ActionNoise, ExpertEpisode, replay, rollout_expert
from tempovla.env.protocol import SimulatorConfig, calibrations_of
from tempovla.env.seeding import episode_seed
from tempovla.env.worker import Worker
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.outcomes import outcomes

_REQUESTS_AHEAD = 2


@dataclass(frozen=True)
class CollectConfig:
    """How experts demonstrate.

    Attributes:
        noise: disturbance of the executed actions, and never of the recorded ones; None adds none.
        binary_gripper: record and execute -1 (open) or +1 (close) instead of the expert's gripper effort.
        steps_after_success: number of control steps that are recorded after the first success.
        max_attempts: number of attempts with fresh seeds after which an episode is given up.
        init_states: "random" placements, drawn from the seed, or the fixed ones of the "benchmark" in turn, if the
            simulator has some.
    """

    noise: ActionNoise | None = field(default_factory=ActionNoise)
    binary_gripper: bool = True
    steps_after_success: int = 5
    max_attempts: int = 50
    init_states: Literal["random", "benchmark"] = "random"

    def __post_init__(self) -> None:
        if self.init_states not in ("random", "benchmark"):
            raise ValueError(f"init_states={self.init_states!r}; choose random or benchmark")


@dataclass(frozen=True)
class Demonstration:
    """A successful episode of T control steps.

    Attributes:
        task: the simulator's name of the task.
        instruction: the task in words.
        seed: that plays the same episode again.
        init_state: the fixed initial state that it began from; None where the seed drew the placement.
        attempts: how many episodes were tried to get this one, itself included: 1 / mean is the success rate.
        steps: (T, ...) by key: observations as the environment shows them before each action, and `action` (T, A)
            float32, the expert's undisturbed action at that moment; and `next.*` (T, 1), what followed the action that
            was executed, see `timeline.outcomes`.
        executed: (T, A) float32, the actions that moved the robot.
        simulator: (T, ...) by name, arrays of these moments for the simulator's own tools.
        environment: facts about the environment for those tools.
        cameras: calibrations of the cameras, where depth is observed.
    """

    task: str
    instruction: str
    seed: int
    init_state: int | None
    attempts: int
    steps: dict[str, np.ndarray]
    executed: np.ndarray
    simulator: dict[str, np.ndarray]
    environment: dict[str, str]
    cameras: tuple[CameraCalibration, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One episode of an expert, played without drawing: whether it succeeded, and after how many steps."""

    task: str
    success: bool
    steps: int


def collect_episodes(
    tasks: Sequence[str],
    episodes_per_task: int,
    seed: int,
    *,
    workers: int = 2,
    env_config: SimulatorConfig,
    config: CollectConfig | None = None,
    skip: int = 0,
) -> Iterator[Demonstration]:
    """Yield `episodes_per_task` demonstrations of each task, task by task.

    Episodes and their order depend on the seed alone, not on the number of workers; the first `skip` of them, which an
    interrupted run has written already, are left out. Few are in memory at a time:
    workers wait for the consumer. They end when the iterator is exhausted, closed or thrown away.

    Raises:
        ValueError: for tasks that are unknown or named twice, or if `max_attempts` in a row fail.
        WorkerDiedError: if a worker crashed.
    """
    jobs = [(task, episode) for task in tasks for episode in range(episodes_per_task)][skip:]
    return _play("demonstrate", jobs, seed, workers, env_config, config or CollectConfig())


def attempt_episodes(
    tasks: Sequence[str],
    episodes_per_task: int,
    seed: int,
    *,
    workers: int = 2,
    env_config: SimulatorConfig,
    config: CollectConfig | None = None,
) -> Iterator[Attempt]:
    """Like `collect_episodes`, but play every episode once, draw nothing and keep nothing: to measure experts."""
    jobs = [(task, episode) for task in tasks for episode in range(episodes_per_task)]
    return _play("attempt", jobs, seed, workers, replace(env_config, render=False), config or CollectConfig())


def _play(
    method: str,
    jobs: Sequence[tuple[str, int]],
    seed: int,
    workers: int,
    env_config: SimulatorConfig,
    config: CollectConfig,
) -> Iterator[Any]:
    for task in dict.fromkeys(task for task, _ in jobs):
        env_config.check_task(task)
    twice = next((task for (task, _), count in Counter(jobs).items() if count > 1), None)
    if twice:
        raise ValueError(f"tasks: {twice} is named twice; name it once")
    if not jobs:
        return
    first_tasks = [task for task, _ in jobs[:workers]]
    configs = [replace(env_config, task=task, terminate_on_success=False) for task in first_tasks]
    pool = [Worker(_Collector, of_worker, config, seed) for of_worker in configs]
    try:
        for worker in pool:
            worker.receive()
        # Job i belongs to worker i mod W: with the answers read in the same order, the order needs no sorting.
        turns = [pool[index % len(pool)] for index in range(len(jobs))]
        ahead = min(len(jobs), _REQUESTS_AHEAD * len(pool))
        for index in range(ahead):
            turns[index].send(method, *jobs[index])
        for index in range(len(jobs)):
            answer = turns[index].receive()
            if index + ahead < len(jobs):
                turns[index + ahead].send(method, *jobs[index + ahead])
            yield answer
    finally:
        for worker in pool:
            worker.close()


class _Collector:
    """One worker's environment and the experts playing in it."""

    def __init__(self, env_config: SimulatorConfig, config: CollectConfig, seed: int) -> None:
        self._env = env_config.make()
        self._config, self._seed = config, seed

    def demonstrate(self, task: str, episode: int) -> Demonstration:
        config = self._config
        for attempt in range(config.max_attempts):
            played = self._rollout(task, episode, attempt)
            if played.success:
                break
        else:
            raise ValueError(
                f"the expert of {task} failed {config.max_attempts} times in a row; lower noise.max_sigma or "
                "binary_gripper=False, or raise max_steps"
            )
        observations = replay(self._env, played)
        steps = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
        steps[ACTION_KEY] = played.labels
        steps |= outcomes(played.rewards, played.successes, world_ended=played.world_ended)
        return Demonstration(
            task,
            self._env.instruction,
            played.seed,
            played.init_state,
            attempt + 1,
            steps,
            played.executed,
            played.simulator,
            self._env.simulator_description(),
            calibrations_of(self._env),
        )

    def attempt(self, task: str, episode: int) -> Attempt:
        played = self._rollout(task, episode, attempt=0)
        return Attempt(task, played.success, len(played.labels))

    def _rollout(self, task: str, episode: int, attempt: int) -> ExpertEpisode:
        init_state = None
        if self._config.init_states == "benchmark":
            count = self._env.config.init_state_count(task)
            if count == 0:
                raise ValueError(f"init_states=benchmark: {task} has no fixed initial states; choose random")
            init_state = (episode + attempt) % count
        return rollout_expert(
            self._env,
            episode_seed("collect", self._seed, task, episode, attempt),
            task=task,
            init_state=init_state,
            noise=self._config.noise,
            binary_gripper=self._config.binary_gripper,
            steps_after_success=self._config.steps_after_success,
        )
