"""Runs episodes in many environments at once, and returns how they ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Actor
from tempovla.control.execution import (
    check_temporal_ensemble,
    choose_execution_horizon,
    chunk_length,
    chunk_player,
)
from tempovla.model.action_head.action_chunker import ChunkPlayer
from tempovla.rollout.schedule import Schedule
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.outcomes import outcomes

if TYPE_CHECKING:
    from tempovla.env.vector import ChunkResult, ShardedVectorEnv


@dataclass(frozen=True)
class EpisodeSpec:
    """An episode to run.

    Attributes:
        task: name of the simulator's task.
        seed: of the simulator's reset.
        instruction: instruction of the policy throughout; None is what the simulator says, which may change.
        record: keep every observation and action.
        init_state: number of the benchmark's fixed initial state; None lets the seed draw one.
    """

    task: str
    seed: int
    instruction: str | None = None
    record: bool = False
    init_state: int | None = None


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode ended.

    Attributes:
        spec: the episode that was requested.
        instruction: the policy's instruction when the episode began.
        success: whether the simulator called the task solved.
        steps: control steps until the end.
        total_reward: sum of the simulator's rewards.
        actions: (T, A) float32, what was executed.
        policy_calls: decisions of the policy in the episode.
        policy_s: time that these took [s]; each decision was made for all rows together.
        report: what the policy tells of the episode, by name; see `ReportingPolicy`.
        figures: what the simulator measured of the episode, by name; see `Scored`.
        instructions: the policy's instruction before each of the T actions; None unless a recording was requested.
        recording: every stream (T, ...) before each of the T actions, the actions, and what followed each, `next.*`;
            None unless it was requested.
        final: the observation after the last action, by stream; None without a recording.
        cameras: calibrations that the simulator told, where it observes depth.
    """

    spec: EpisodeSpec
    instruction: str
    success: bool
    steps: int
    total_reward: float
    recording: Mapping[str, NDArray] | None = None
    final: Mapping[str, NDArray] | None = None
    actions: NDArray | None = None
    policy_calls: int = 0
    policy_s: float = 0.0
    report: Mapping[str, float] = field(default_factory=dict)
    cameras: tuple[CameraCalibration, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    instructions: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures that follow from the seeds alone, which leaves out the time that it took."""
        return {
            "task": self.spec.task,
            "seed": self.spec.seed,
            **({} if self.spec.init_state is None else {"init_state": self.spec.init_state}),
            "instruction": self.instruction,
            "success": self.success,
            "steps": self.steps,
            "total_reward": self.total_reward,
            **({"report": dict(self.report)} if self.report else {}),
            **({"figures": dict(self.figures)} if self.figures else {}),
        }


@dataclass
class _Row:
    """An episode in progress."""

    spec: EpisodeSpec
    told: list[str]
    observations: list[dict[str, NDArray]]
    steps: int = 0
    reward: float = 0.0
    success: bool = False
    actions: list[NDArray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    world_ended: bool = False
    policy_calls: int = 0
    policy_s: float = 0.0
    cameras: tuple[CameraCalibration, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


class RolloutRunner:
    """Evaluates a controller in a vector environment with one batched decision for all rows.

    All rows decide together, every `execution_horizon` steps, and a row whose episode has ended takes the next one. The
    result of an episode does not depend on the row that it ran in, nor on the number of rows, except for the rounding
    of batched arithmetic.

    Args:
        controller: the policy behind its transforms.
        env: the environments.
        execution_horizon: actions of a chunk that are executed before the next decision; see
            `choose_execution_horizon` for None, and for what is refused.
        temporal_ensemble: decay of the weights of older chunks, where each step is the weighted mean of what all
            chunks say about it; None executes the newest chunk alone. See `check_temporal_ensemble`.
    """

    def __init__(
        self,
        controller: Actor,
        env: ShardedVectorEnv,
        execution_horizon: int | None = None,
        temporal_ensemble: float | None = None,
    ) -> None:
        check_temporal_ensemble(temporal_ensemble)
        self.controller = controller
        self.env = env
        self.temporal_ensemble = temporal_ensemble
        self.execution_horizon = choose_execution_horizon(
            execution_horizon, controller.frame_stride, chunk_length(controller.windows), temporal_ensemble
        )
        self._player: ChunkPlayer | None = None
        self._builder = ContextBuilder(controller.windows, controller.embodiment, env.num_envs)
        self._rows: list[_Row | None] = []

    def run(
        self, episodes: Iterable[EpisodeSpec], on_end: Callable[[EpisodeResult], EpisodeResult] = lambda result: result
    ) -> list[EpisodeResult]:
        """Run all episodes, and return their results in the given order.

        Args:
            episodes: what to run.
            on_end: called with each result as its episode ends; what it returns is kept, e.g. without the recording.
        """
        specs = list(episodes)
        schedule = Schedule([spec.task for spec in specs], self.env.num_envs)
        results: dict[int, EpisodeResult] = {}
        self._rows = [None] * self.env.num_envs
        self._player = None
        order = [-1] * self.env.num_envs
        state = self.controller.initial_state(self.env.num_envs)
        while schedule or any(self._rows):
            if self._fill(specs, schedule, order):
                state = self.controller.with_seeds(state, [row.spec.seed if row else 0 for row in self._rows])
            started_s = time.perf_counter()
            chunk, state = self.controller.act(self._builder.context(), state)
            actions = chunk.value.cpu().numpy()
            policy_s = time.perf_counter() - started_s
            for row in filter(None, self._rows):
                row.policy_calls += 1
                row.policy_s += policy_s
            if actions.shape[1] < self.execution_horizon:
                raise ValueError(
                    f"execution_horizon={self.execution_horizon} exceeds the policy's chunk of {actions.shape[1]}; "
                    "set it to that at the most"
                )
            over = self._execute(self._until_next_decision(actions))
            told = self.controller.report(state) if over else {}
            for ended in over:
                finished = self._rows[ended]
                assert finished is not None
                report = {name: figures[ended] for name, figures in told.items()}
                results[order[ended]] = on_end(self._result(finished, report))
                self._rows[ended] = None
        return [results[index] for index in range(len(specs))]

    def _fill(self, specs: Sequence[EpisodeSpec], schedule: Schedule, order: list[int]) -> bool:
        """Give waiting episodes to idle rows, and return whether there were any.

        Rows that never had an episode repeat one that is not counted.
        """
        started: dict[int, EpisodeSpec] = {}
        for row in range(self.env.num_envs):
            episode = schedule.take(row) if self._rows[row] is None else None
            if episode is not None:
                order[row], started[row] = episode, specs[episode]
        if not started:
            return False
        filler = next(iter(started.values()))
        never_used = [row for row in range(self.env.num_envs) if not self._builder.has_row(row) and row not in started]
        playing = started | dict.fromkeys(never_used, filler)
        observations, info = self.env.reset(
            seed=[playing.get(row, filler).seed for row in range(self.env.num_envs)],
            options={
                "reset_mask": np.array([row in playing for row in range(self.env.num_envs)]),
                "task": [playing.get(row, filler).task for row in range(self.env.num_envs)],
                "init_state": [playing.get(row, filler).init_state for row in range(self.env.num_envs)],
            },
        )
        if self._player is not None:
            self._player.reset(torch.tensor([row in playing for row in range(self.env.num_envs)]))
        cameras = info.get("cameras", ((),) * self.env.num_envs)
        for row in playing:
            observation = {key: value[row].copy() for key, value in observations.items()}
            instruction = str(info["instruction"][row])
            if row in started:
                told = started[row].instruction
                instruction = instruction if told is None else told
                self._rows[row] = _Row(started[row], [instruction], [observation], cameras=cameras[row])
            self._builder.reset(row, instruction, observation, cameras[row])
        return True

    def _until_next_decision(self, chunk: NDArray) -> NDArray:
        """Return the actions (N, K, A) to execute: the chunk's (N, H, A) first ones, or means with older chunks."""
        if self.temporal_ensemble is None:
            return chunk[:, : self.execution_horizon]
        if self._player is None:
            rows, size, width = chunk.shape
            self._player = chunk_player(size, width, rows, self.execution_horizon, self.temporal_ensemble)
        steps = [self._player.step(torch.from_numpy(chunk))]
        steps += [self._player.step() for _ in range(self.execution_horizon - 1)]
        return torch.stack(steps, dim=1).numpy()

    def _execute(self, actions: NDArray) -> list[int]:
        """Execute a chunk (N, K, A), and return the rows whose episodes ended."""
        stride = 1 if self._builder.needs_every_step else actions.shape[1]
        ended: set[int] = set()
        for start in range(0, actions.shape[1], stride):
            piece = actions[:, start : start + stride]
            active = np.array([row is not None and i not in ended for i, row in enumerate(self._rows)])
            if not active.any():
                break
            record = [i for i, row in enumerate(self._rows) if row is not None and row.spec.record and active[i]]
            valid = np.repeat(active[:, None], piece.shape[1], axis=1)
            result = self.env.step_chunk(piece, valid, record)
            for i in np.flatnonzero(active):
                self._advance(int(i), piece[i], result)
            ended |= {int(i) for i in np.flatnonzero(active & (result.terminations | result.truncations))}
        return sorted(ended)

    def _advance(self, index: int, actions: NDArray, result: ChunkResult) -> None:
        row = self._rows[index]
        assert row is not None
        steps = int(result.steps[index])
        row.steps += steps
        row.reward += float(result.rewards[index])
        latest = {key: value[index].copy() for key, value in result.observations.items()}
        row.actions.extend(actions[:steps])
        if row.spec.record:
            frames = result.frames[index]
            row.observations.extend({key: value[step] for key, value in frames.items()} for step in range(steps))
            row.rewards.extend(result.step_rewards[index].tolist())
            row.successes.extend(result.step_successes[index].tolist())
            row.world_ended = result.world_ended(index, self.env.config)
        self._builder.add(index, actions[:steps], latest)
        row.success = bool(result.successes[index])
        row.figures = result.figures[index]
        self._tell(index, row, result)

    def _tell(self, index: int, row: _Row, result: ChunkResult) -> None:
        """Let the policy know what the simulator says now, unless the episode fixes its instruction."""
        fixed, now = row.spec.instruction, result.instructions[index]
        if row.spec.record:
            steps = int(result.steps[index])
            row.told.extend(result.step_instructions[index] if fixed is None else [fixed] * steps)
        if fixed is None and now != self._builder.instruction(index):
            self._builder.instruct(index, now)

    def _result(self, row: _Row, report: Mapping[str, float]) -> EpisodeResult:
        actions = np.stack(row.actions).astype(np.float32)
        recording, final = None, None
        if row.spec.record:
            before = row.observations[: len(actions)]
            recording = {key: np.stack([step[key] for step in before]) for key in before[0]}
            recording |= {ACTION_KEY: actions} | outcomes(row.rewards, row.successes, world_ended=row.world_ended)
            final = row.observations[-1]
        return EpisodeResult(
            spec=row.spec,
            instruction=row.told[0],
            success=row.success,
            steps=row.steps,
            total_reward=row.reward,
            recording=recording,
            final=final,
            actions=actions,
            policy_calls=row.policy_calls,
            policy_s=row.policy_s,
            report=report,
            cameras=row.cameras,
            figures=row.figures,
            instructions=tuple(row.told[: len(actions)]) if row.spec.record else None,
        )
