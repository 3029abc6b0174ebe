"""Demonstrations by scripted experts, made by several processes and handed over one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tempovla.env.expert import ActionNoise, replay, rollout_expert
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv
from tempovla.env.metaworld_tasks import check_task
from tempovla.env.seeding import episode_seed
from tempovla.env.worker import Worker

ACTION_KEY = "action"
_REQUESTS_AHEAD = 2


@dataclass(frozen=True)
class CollectConfig:
    """How experts demonstrate.

    Attributes:
        noise: disturbance of what is executed, never of what is recorded; None for none.
        binary_gripper: record and execute -1 (open) or +1 (close) instead of the expert's gripper effort.
        steps_after_success: control steps recorded beyond the first success.
        max_attempts: how often an episode is tried with fresh seeds before collecting gives up.
    """

    noise: ActionNoise | None = field(default_factory=ActionNoise)
    binary_gripper: bool = True
    steps_after_success: int = 5
    max_attempts: int = 50


@dataclass(frozen=True)
class Demonstration:
    """A successful episode of T control steps.

    Attributes:
        task: Meta-World's name of the task.
        instruction: the task in words.
        seed: that plays the same episode again.
        attempts: how many episodes were tried to get this one, itself included: 1 / mean is the success rate.
        steps: (T, ...) by key: observations as `MetaWorldEnv` shows them before each action, and `action` (T, 4)
            float32, the expert's undisturbed action at that moment.
    """

    task: str
    instruction: str
    seed: int
    attempts: int
    steps: dict[str, np.ndarray]


def collect_episodes(
    tasks: Sequence[str],
    episodes_per_task: int,
    seed: int,
    *,
    workers: int = 2,
    env_config: MetaWorldConfig | None = None,
    config: CollectConfig | None = None,
    skip: int = 0,
) -> Iterator[Demonstration]:
    """Yield `episodes_per_task` demonstrations of each task, task by task.

    Episodes and their order depend on the seed alone, not on the number of workers; the first `skip` of them, which an
    interrupted run has written already, are left out. Few are in memory at a time:
    workers wait for the consumer. They end when the iterator is exhausted, closed or thrown away.

    Raises:
        ValueError: for unknown tasks, or if `max_attempts` in a row fail.
        WorkerDiedError: if a worker crashed.
    """
    for task in tasks:
        check_task(task)
    env_config = replace(env_config or MetaWorldConfig(), task=tasks[0], terminate_on_success=False)
    config = config or CollectConfig()
    jobs = [(task, episode) for task in tasks for episode in range(episodes_per_task)][skip:]
    if not jobs:
        return
    pool = [Worker(_Collector, env_config, config, seed) for _ in range(min(workers, len(jobs)))]
    try:
        for worker in pool:
            worker.receive()
        # Job i belongs to worker i mod W: with the answers read in the same order, the order needs no sorting.
        turns = [pool[index % len(pool)] for index in range(len(jobs))]
        ahead = min(len(jobs), _REQUESTS_AHEAD * len(pool))
        for index in range(ahead):
            turns[index].send("demonstrate", *jobs[index])
        for index in range(len(jobs)):
            demonstration = turns[index].receive()
            if index + ahead < len(jobs):
                turns[index + ahead].send("demonstrate", *jobs[index + ahead])
            yield demonstration
    finally:
        for worker in pool:
            worker.close()


class _Collector:
    """One worker's environment and the experts playing in it."""

    def __init__(self, env_config: MetaWorldConfig, config: CollectConfig, seed: int) -> None:
        self._env = MetaWorldEnv(env_config)
        self._config, self._seed = config, seed

    def demonstrate(self, task: str, episode: int) -> Demonstration:
        config = self._config
        for attempt in range(config.max_attempts):
            played = rollout_expert(
                self._env,
                episode_seed("collect", self._seed, task, episode, attempt),
                task=task,
                noise=config.noise,
                binary_gripper=config.binary_gripper,
                steps_after_success=config.steps_after_success,
            )
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
        return Demonstration(task, self._env.instruction, played.seed, attempt + 1, steps)
