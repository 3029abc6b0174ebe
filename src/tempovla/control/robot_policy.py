"""A policy as an object for a control loop; its memory is kept inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from tempovla.control.new_words import warn_of_new_words
from tempovla.control.observations import TASK_KEY, Reads, Rows, as_numbers, read_observation
from tempovla.control.row_choice import checked_seeds, chosen_rows, row_seeds
from tempovla.control.row_states import take_rows
from tempovla.control.timing import Stopwatch, Timing
from tempovla.model.action_head.action_chunker import ChunkPlayer
from tempovla.timeline import CameraCalibration, Embodiment, Window
from tempovla.timeline.finite import check_actions, check_finite

Actions = NDArray[np.float32]


class RobotPolicy:
    """Observations in, actions in the robot's units out, for one robot or a batch of them.

    `step` returns one action a control step: the policy decides only when a new chunk of actions is due. `act` gives a
    whole chunk and leaves its execution to the caller. Memories, windows on the past, the policy's stride and the
    averaging of overlapping chunks are taken care of; an episode goes on until `reset`.

    It wraps an `Actor`, whose state is explicit: use that one to keep states yourself.

    Args:
        actor: a `Controller` or an exported policy.
        reads: what observations must hold.
        execution_horizon: control steps from one decision to the next; None is the policy's own stride, or 6, or 1
            where chunks are averaged.
        ensemble: m of the weights exp(-m i) with which `step` averages what overlapping chunks say about a step, i
            counting from 0 for the oldest (ACT, Zhao et al., 2023); None plays the newest chunk alone.
        provenance: what the policy was trained on.
        cameras: calibrations of the robot's cameras, instead of those of the training data of the same streams.

    Attributes:
        actor: what decides.
        provenance: what it was trained on.
        execution_horizon: control steps from one decision to the next.
        ensemble: as above.

    Raises:
        ValueError: if the policy cannot decide at that rate, or `ensemble` is no decay.
    """

    _builder: ContextBuilder | None
    _state: Any
    _player: ChunkPlayer | None
    _is_new: NDArray[np.bool_]
    _chunk: Actions | None
    _last: Actions | None

    def __init__(
        self,
        actor: Actor,
        reads: Reads,
        *,
        execution_horizon: int | None = None,
        ensemble: float | None = None,
        provenance: Mapping[str, Any] | None = None,
        cameras: Sequence[CameraCalibration] = (),
    ) -> None:
        check_temporal_ensemble(ensemble, "ensemble")
        self.actor, self.ensemble, self.provenance = actor, ensemble, provenance or {}
        self.execution_horizon = choose_execution_horizon(
            execution_horizon, actor.frame_stride, chunk_length(actor.windows), ensemble
        )
        self._reads = reads
        self._body = actor.embodiment.with_cameras(cameras)
        self._seeds: int | tuple[int, ...] = 0
        self._tasks: list[str] | None = None
        self._heard: set[str] = set()
        self._is_batch = False
        self._stopwatch = Stopwatch(actor.embodiment.rate_hz)
        self._forget()

    @property
    def windows(self) -> tuple[Window, ...]:
        """Which steps of which streams the policy looks at."""
        return self.actor.windows

    @property
    def embodiment(self) -> Embodiment:
        """The body that it moves: dimensions, names, control rate and calibrated cameras."""
        return self._body

    @property
    def frame_stride(self) -> int | None:
        """Control steps between two decisions where the policy allows no other number, as one with a memory does."""
        return self.actor.frame_stride

    @property
    def action_horizon(self) -> int | None:
        """Control steps of a chunk; None if they are unknown before the first decision."""
        return chunk_length(self.actor.windows)

    @property
    def task(self) -> str | list[str] | None:
        """The instruction, or one for each robot of a batch; it holds until another one is given."""
        if self._tasks is None:
            return None
        return list(self._tasks) if self._is_batch else self._tasks[0]

    @property
    def timing(self) -> Timing:
        """How long decisions take, and the control rate that is achieved."""
        return self._stopwatch.read()

    def __repr__(self) -> str:
        body = self.embodiment
        return (
            f"RobotPolicy(reads {self._reads.in_words}, moves {body.name or 'a robot'} by {body.action_dim} "
            f"numbers at {body.rate_hz:g} Hz, decides every {self.execution_horizon} steps)"
        )

    def reset(self, rows: int | Sequence[int] | NDArray | None = None) -> None:
        """Begin a new episode with the next observation, of all robots or of some rows of a batch.

        Args:
            rows: one row, several, or True and False for every row; None means all.

        Raises:
            ValueError: if there is no such row.
        """
        if rows is None:
            self._stopwatch.pause()
            self._forget()
            return
        count = 0 if self._builder is None else self._builder.num_rows
        self._is_new[chosen_rows(rows, count)] = True
        if self._player is not None:
            self._player.reset(torch.from_numpy(self._is_new.copy()))

    def seed(self, seed: int | Sequence[int] | NDArray) -> None:
        """Draw the noise of a generative policy from a seed: row r from `seed + r`, or from its own of a sequence.

        Raises:
            ValueError: if a seed is no whole number or has more than 62 bits, or there are more or fewer than rows.
        """
        seeds = checked_seeds(seed)
        if self._builder is not None:
            self._state = self.actor.with_seeds(self._state, row_seeds(seeds, self._builder.num_rows))
        self._seeds = seeds

    def act(self, observation: Mapping[str, Any], executed: Any = None) -> Any:
        """Return a chunk of actions from now on, in the robot's units: (H, A), or (B, H, A) for a batch.

        A policy with a memory, or with windows on past actions, needs the actions since the last call.

        Args:
            observation: arrays or tensors by name, and the instruction under `task`: a vector (D,), a picture (H, W, 3)
                uint8 or (3, H, W) floats from 0 to 1; with one more axis in front for a batch.
            executed: (n, A), or (B, n, A), the actions done since the last call; None: the first `execution_horizon`
                ones of the last chunk, or its first one where the policy's windows reach into past observations.

        Raises:
            ValueError: if the observation cannot be used, the actions come out other than finite, or the policy's
                stride is another number of steps than were executed.
        """
        if self.ensemble is not None:
            raise ValueError(
                f"ensemble={self.ensemble:g} averages single actions; call step(observation) instead of act"
            )
        given = self._begin(observation, "act")
        done = self._executed(executed, given)
        self._stopwatch.called(0 if done is None else done.shape[1])
        builder = self._observed(given, done)
        self._chunk, state = self._decide(builder, np.ones(len(given.streams), dtype=bool))
        self._go_on(builder, state, "act")
        return given.answer(self._chunk)

    def step(self, observation: Mapping[str, Any]) -> Any:
        """Return the action of this control step, in the robot's units: (A,), or (B, A) for a batch.

        Call it once a control step and execute the returned action. The policy decides every `execution_horizon` steps.

        Args:
            observation: as in `act`.

        Raises:
            ValueError: if the observation cannot be used, or the actions come out other than finite.
        """
        given = self._begin(observation, "step")
        self._stopwatch.called(1)
        builder = self._observed(given, None if self._last is None else self._last[:, None])
        due = np.ones(len(given.streams), dtype=bool) if self._player is None else self._player.needs_chunk.numpy()
        chunk, state = self._decide(builder, due) if due.any() else (None, self._state)
        if self._player is None:
            assert chunk is not None
            rows, size, width = chunk.shape
            self._player = chunk_player(size, width, rows, self.execution_horizon, self.ensemble)
        self._last = self._player.step(None if chunk is None else torch.from_numpy(chunk)).numpy()
        self._go_on(builder, state, "step")
        return given.answer(self._last)

    def _forget(self) -> None:
        """Have no episode; the instruction, the seed and the timing stay."""
        self._builder, self._state, self._player = None, None, None
        self._chunk, self._last = None, None
        self._is_new = np.ones(0, dtype=bool)
        self._method = ""

    def _begin(self, observation: Mapping[str, Any], method: str) -> Rows:
        """The rows of an observation, and an episode for them where there is none."""
        given = read_observation(observation, self._reads)
        rows = len(given.streams)
        told = self._told(given, observation)
        if self._builder is not None and self._builder.num_rows != rows:
            raise ValueError(
                f"the observation is of {rows} robots, but the episodes in progress are of {self._builder.num_rows}; "
                "call reset() first"
            )
        if self._method not in ("", method):
            raise ValueError(f"this episode was begun with {self._method}(); call reset() before {method}()")
        if self._builder is None:
            state = self.actor.with_seeds(self.actor.initial_state(rows), row_seeds(self._seeds, rows))
            self._builder = ContextBuilder(self.actor.windows, self.embodiment, rows)
            self._state, self._is_new = state, np.ones(rows, dtype=bool)
        self._tasks, self._is_batch = told, given.is_batch
        return given

    def _told(self, given: Rows, observation: Mapping[str, Any]) -> list[str]:
        """The instruction of each row: the observation's, or the last one that was given."""
        rows = len(given.streams)
        if given.instructions is not None:
            if self._reads.instruction:
                new = [words for words in given.instructions if words not in self._heard]
                warn_of_new_words(new, self.provenance)
                self._heard.update(new)
            return given.instructions
        if self._tasks is None:
            if not self._reads.instruction:
                return [""] * rows
            remedy = f"say once what to do, as in {TASK_KEY!r}: 'open the drawer'"
            if TASK_KEY in observation:
                raise ValueError(f"the observation's {TASK_KEY!r} is None, and none was given before; {remedy}")
            raise ValueError(f"the observation lacks {TASK_KEY!r}: it holds {sorted(map(str, observation))}; {remedy}")
        if len(self._tasks) == rows:
            return self._tasks
        if len(set(self._tasks)) == 1:
            return self._tasks[:1] * rows
        raise ValueError(
            f"the last instructions were {len(self._tasks)} different ones, but the observation is of {rows} robots; "
            f"give {TASK_KEY!r} again"
        )

    def _executed(self, executed: Any, given: Rows) -> Actions | None:
        """The actions (B, n, A) since the last `act`; None if there was none.

        Raises:
            ValueError: if they do not fit the body or the stride.
        """
        rows, width = len(given.streams), self.embodiment.action_dim
        if self._chunk is None:
            if executed is not None:
                raise ValueError("executed actions were given with the first observation of an episode; leave them out")
            return None
        assert self._builder is not None
        if executed is None:
            return self._chunk[:, : 1 if self._builder.needs_every_step else self.execution_horizon]
        done = as_numbers("executed", executed)
        done = done.astype(np.float32) if given.is_batch else done.astype(np.float32)[None]
        if done.ndim != 3 or done.shape[::2] != (rows, width) or not done.shape[1]:
            wanted = f"({rows}, n, {width})" if given.is_batch else f"(n, {width})"
            raise ValueError(
                f"executed is {done.shape[0 if given.is_batch else 1 :]}; give {wanted}, what was done since then"
            )
        if self.frame_stride not in (None, done.shape[1]):
            raise ValueError(
                f"{done.shape[1]} actions were executed, but the policy must be asked every {self.frame_stride} steps, "
                "its frame_stride; execute as many, or call step()"
            )
        check_finite("executed", torch.from_numpy(done), torch.ones(done.shape[:2], dtype=torch.bool))
        return done

    def _observed(self, given: Rows, done: Actions | None) -> ContextBuilder:
        """What was done, and what is seen now, added to a copy of every row's past; new rows begin their episodes."""
        assert self._builder is not None
        builder, told = self._builder.copy(), self._tasks
        assert told is not None
        for row, seen in enumerate(given.streams):
            if self._is_new[row]:
                builder.reset(row, told[row], seen)
            else:
                assert done is not None
                builder.instruct(row, told[row])
                builder.add(row, done[row], seen)
        return builder

    def _decide(self, builder: ContextBuilder, due: NDArray[np.bool_]) -> tuple[Actions, Any]:
        """Chunks (B, H, A), and the state after a decision that counts for the rows in which one is due."""
        with self._stopwatch.decision():
            chunk, after = self.actor.act(builder.context(), self._state)
            actions = chunk.value.float().cpu().numpy()
        check_actions(chunk.value, "the policy")
        return actions, after if due.all() else take_rows(torch.from_numpy(due), after, self._state)

    def _go_on(self, builder: ContextBuilder, state: Any, method: str) -> None:
        """Keep what a call has led to; a call that failed before leaves the episode as it was."""
        self._builder, self._state, self._method = builder, state, method
        self._is_new[:] = False
