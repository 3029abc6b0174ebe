"""Many environments of one simulator over a few processes, stepped in chunks."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array

from tempovla.env.protocol import SimulatorConfig, SimulatorEnv, calibrations_of, figures_of, world_ended
from tempovla.env.worker import Worker
from tempovla.timeline.calibration import CameraCalibration

Observations = dict[str, np.ndarray]


@dataclass(frozen=True)
class ChunkResult:
    """Results of N environments after a chunk of up to K actions each.

    Attributes:
        observations: (N, ...) each, the last of every row.
        steps: (N,) int, executed control steps; fewer than requested where the episode ended.
        rewards: (N,) float64, summed over those steps.
        terminations: (N,) bool, the episode has ended by success, or the world with it.
        truncations: (N,) bool, the episode has run out of steps.
        successes: (N,) bool, the task was solved at some time in the episode.
        instructions: what each of the N environments says now.
        figures: of each of the N rows what its environment measured of an episode that has ended, by name; see
            `Scored`.
        frames: for each requested row, the observations after each executed step, (steps, ...) each.
        step_rewards: for each requested row, the reward of each executed step, (steps,) float64.
        step_successes: for each requested row, whether the task was solved after each executed step, (steps,) bool.
        step_instructions: for each requested row, what its environment said after each executed step.
    """

    observations: Observations
    steps: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    successes: np.ndarray
    instructions: tuple[str, ...]
    figures: tuple[Mapping[str, float], ...]
    frames: dict[int, Observations]
    step_rewards: dict[int, np.ndarray]
    step_successes: dict[int, np.ndarray]
    step_instructions: dict[int, tuple[str, ...]]

    def world_ended(self, row: int, config: SimulatorConfig) -> bool:
        """Return whether the world of a row has ended; an evaluation that is over because the task is solved ends none.

        Args:
            row: of the environments.
            config: of the environments.
        """
        return world_ended(config, bool(self.terminations[row]), bool(self.successes[row]))


class ShardedVectorEnv(VectorEnv):
    """N environments in W worker processes behind Gymnasium's vector interface, with shared-memory observations.

    There is no autoreset (`AutoresetMode.DISABLED`): a row whose episode has ended keeps its last observation, earns
    nothing and goes on saying that it ended, until it is reset. Rows are reset singly with
    `reset(seed=..., options={"reset_mask": (N,) bool, "task": name or N names, "init_state": N ints or None})`, where
    `seed` is one int, row i getting seed + i, or N ints, or None to go on drawing. What a row does depends on its own
    seeds, tasks, initial states and actions alone, not on N, W or its neighbours.

    `step_chunk` runs several control steps per call and draws only the last: the cheap way to evaluate policies that
    execute chunks of actions.

    Workers end with `close()`, with this object or with this process, whichever comes first.

    Args:
        config: of every environment.
        num_envs: N.
        num_workers: W, at most N are started; rows are dealt out in contiguous blocks, so that rows of one task
            that stand together share a worker and its graphics memory.

    Raises:
        ValueError: for impossible numbers, unknown tasks, cameras or initial states.
        WorkerDiedError: when a worker crashed; the environment is closed then.
    """

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012 - Gymnasium's

    def __init__(self, config: SimulatorConfig, num_envs: int, num_workers: int = 2) -> None:
        if num_envs < 1 or num_workers < 1:
            raise ValueError(f"num_envs={num_envs}, num_workers={num_workers}: both must be at least 1")
        self.num_envs = num_envs
        self.config = config
        self.render_mode = "rgb_array" if config.render else None
        self.single_observation_space, self.single_action_space = config.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._shared = _SharedObservations(
            cast(Observations, create_empty_array(self.single_observation_space, num_envs))
        )
        self._shards = np.array_split(np.arange(num_envs), min(num_workers, num_envs))
        self._workers = [
            Worker(_Shard, config, rows, self._shared, file_descriptors=(self._shared.file_descriptor,))
            for rows in self._shards
        ]
        os.close(self._shared.file_descriptor)  # the mapping stays, and the workers have theirs
        self._ask()
        self._tasks = np.full(num_envs, config.task or config.task_names()[0], dtype=object)
        self._instructions = np.full(num_envs, "", dtype=object)
        self._played = np.zeros(num_envs, bool)
        self._cameras: list[tuple[CameraCalibration, ...]] = [()] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start episodes in the rows of `reset_mask`, or in all; see the class for seeds and options.

        Returns:
            Observations of all N rows, (N, ...) each, and info: `task` and `instruction`, N words each, what the
            environments say when their episodes begin; where depth is observed also `cameras`, the calibrations of
            each row.
        """
        options = options or {}
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"reset_mask must be ({self.num_envs},) bool, got {mask.shape} {mask.dtype}")
        seeds = self._per_row("seed", [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else seed)
        tasks = self._per_row("task", options.get("task"))
        init_states = self._per_row("init_state", options.get("init_state"))
        for task in filter(None, dict.fromkeys(tasks)):
            self.config.check_task(task)
        episodes = list(zip(seeds, tasks, init_states, strict=True))
        shards = [{row: episodes[row] for row in rows[mask[rows]].tolist()} for rows in self._shards]
        for row, task, instruction, cameras in self._ask("reset", [(shard,) for shard in shards]):
            self._tasks[row], self._instructions[row], self._cameras[row] = task, instruction, cameras
        self._played |= mask
        info: dict[str, Any] = {"task": self._tasks.copy(), "instruction": self._instructions.copy()}
        return self._shared.read(), info | ({"cameras": tuple(self._cameras)} if any(self._cameras) else {})

    def step(self, actions: np.ndarray) -> tuple[Observations, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one control step of every row; actions (N, A). Info holds `success` (N,) bool."""
        result = self.step_chunk(np.asarray(actions)[:, None])
        info = {"success": result.successes}
        return result.observations, result.rewards, result.terminations, result.truncations, info

    def step_chunk(
        self, actions: np.ndarray, valid: np.ndarray | None = None, record: Sequence[int] = ()
    ) -> ChunkResult:
        """Execute several actions per row, each row stopping at its episode's end, and observe once.

        Args:
            actions: (N, K, A).
            valid: (N, K) bool, the actions to execute; None for all. A row without any keeps its observation.
            record: rows whose observation, reward and success are wanted after every step.
        """
        actions = np.asarray(actions, np.float32)
        valid = np.ones(actions.shape[:2], bool) if valid is None else np.asarray(valid)
        if actions.ndim != 3 or len(actions) != self.num_envs or valid.shape != actions.shape[:2]:
            n, dims = self.action_space.shape or ()
            raise ValueError(
                f"actions must be ({n}, K, {dims}) and valid ({n}, K), got {actions.shape} and {valid.shape}"
            )
        if not self._played.all():
            raise ValueError(f"rows {np.flatnonzero(~self._played).tolist()} were never reset; call reset() first")
        shards = [{row: actions[row][valid[row]] for row in rows.tolist()} for rows in self._shards]
        answers = self._ask("step_chunk", [(shard, frozenset(record)) for shard in shards])
        outcomes = [outcome for _, outcome in sorted(answers, key=lambda answer: answer[0])]
        steps, rewards, terminations, truncations, successes, told, figures, frames, each = zip(*outcomes, strict=True)
        return ChunkResult(
            observations=self._shared.read(),
            steps=np.array(steps),
            rewards=np.array(rewards),
            terminations=np.array(terminations),
            truncations=np.array(truncations),
            successes=np.array(successes),
            instructions=told,
            figures=figures,
            frames={row: frames[row] for row in record},
            step_rewards={row: np.array([reward for reward, _, _ in each[row]], np.float64) for row in record},
            step_successes={row: np.array([success for _, success, _ in each[row]], bool) for row in record},
            step_instructions={row: tuple(words for _, _, words in each[row]) for row in record},
        )

    def close_extras(self, **kwargs: Any) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()

    def __del__(self) -> None:
        if hasattr(self, "_workers"):
            self.close()

    def _ask(self, method: str = "", arguments: Sequence[tuple[Any, ...]] = ()) -> list[Any]:
        """Send each worker its request, if any, and join their answers; after anything but a user's error, close."""
        answers: list[Any] = []
        error = None
        try:
            for worker, worker_arguments in zip(self._workers, arguments, strict=False):
                worker.send(method, *worker_arguments)
            for worker in self._workers:
                try:
                    answers += worker.receive() or []
                except ValueError as user_error:  # the other workers' answers must be read all the same
                    error = user_error
        except BaseException:
            self.close()
            raise
        if error is not None:
            raise error
        return answers

    def _per_row(self, name: str, value: Any) -> list[Any]:
        if value is None or isinstance(value, str):
            return [value] * self.num_envs
        if len(value) != self.num_envs:
            raise ValueError(f"{name} must have one entry for each of the {self.num_envs} rows, got {len(value)}")
        return [entry.item() if isinstance(entry, np.generic) else entry for entry in value]


class _SharedObservations:
    """One array (N, ...) per observation, in memory that survives pickling to a process holding the same descriptor."""

    def __init__(self, like: Observations) -> None:
        self._layout = {key: (array.shape, array.dtype) for key, array in like.items()}
        self._size = sum(array.nbytes for array in like.values())
        self.file_descriptor = os.memfd_create("tempovla-observations")
        os.ftruncate(self.file_descriptor, self._size)
        self._map()

    def _map(self) -> None:
        memory = mmap.mmap(self.file_descriptor, self._size)
        self.arrays, offset = {}, 0
        for key, (shape, dtype) in self._layout.items():
            count = int(np.prod(shape))
            self.arrays[key] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
            offset += count * dtype.itemsize

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def read(self) -> Observations:
        """Return a copy of all rows."""
        return {key: array.copy() for key, array in self.arrays.items()}

    def write(self, row: int, observation: Observations) -> None:
        """Set one row."""
        for key, value in observation.items():
            self.arrays[key][row] = value


@dataclass
class _Row:
    env: SimulatorEnv
    terminated: bool = False
    truncated: bool = False
    success: bool = False


class _Shard:
    """The environments of one worker, by row: the first at once, to say what is wrong with the config; the others when
    their first episode says which task they play, as another task costs as much as another environment.
    """

    def __init__(self, config: SimulatorConfig, rows: np.ndarray, shared: _SharedObservations) -> None:
        self._config, self._shared = config, shared
        self._rows = {int(rows[0]): _Row(config.make())}

    def reset(
        self, episodes: dict[int, tuple[int | None, str | None, int | None]]
    ) -> list[tuple[int, str, str, tuple]]:
        """Reset rows to (seed, task, initial state); answers with (row, task, instruction, calibrations)."""
        for row, (seed, task, init_state) in episodes.items():
            env = (
                self._rows[row].env
                if row in self._rows
                else replace(self._config, task=task or self._config.task).make()
            )
            observation, _ = env.reset(seed=seed, options={"task": task, "init_state": init_state})
            self._rows[row] = _Row(env)
            self._shared.write(row, observation)
        played = {row: self._rows[row].env for row in episodes}
        return [(row, env.task, env.instruction, calibrations_of(env)) for row, env in played.items()]

    def step_chunk(self, actions: dict[int, np.ndarray], record: frozenset[int]) -> list[tuple[int, tuple]]:
        """Execute (k, A) actions in each row; answers with (row, the row's fields of ChunkResult)."""
        return [(row, self._step_row(row, chunk, row in record)) for row, chunk in actions.items()]

    def _step_row(self, index: int, actions: np.ndarray, record: bool) -> tuple:
        row = self._rows[index]
        steps, total_reward, frames = 0, 0.0, []
        each: list[tuple[float, bool, str]] = []
        for action in actions:
            if row.terminated or row.truncated:
                break
            reward, row.terminated, row.truncated, info = row.env.advance(action)
            row.success |= info["success"]
            total_reward += reward
            steps += 1
            if record:
                frames.append(row.env.observe())
                each.append((float(reward), bool(info["success"]), row.env.instruction))
        if steps:
            self._shared.write(index, frames[-1] if record else row.env.observe())
        stacked = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]} if frames else {}
        figures = figures_of(row.env) if row.terminated or row.truncated else {}
        ended = row.terminated, row.truncated, row.success
        return steps, total_reward, *ended, row.env.instruction, figures, stacked, each
