"""Builds a policy's context from live observations, as in training."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.timeline import Context, Embodiment, Task, Track, Window
from tempovla.timeline.arguments import brief
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import ACTION_KEY, OBSERVATION_PREFIX, is_outcome, newest_known
from tempovla.timeline.points import pad_points, stack_points

_POINTS_DIMS = 2
"""Dimensions of a set of points, (N, F); pictures have more, and vectors fewer."""


class ContextBuilder:
    """Keeps for every row as much of the past as the windows of a policy reach back to.

    As in a dataset, steps before an episode's start repeat its first observation and are invalid. Past actions that
    were never taken are invalid, too.

    Args:
        windows: of the policy; their offsets in the future are ignored.
        embodiment: the body that acts.
        num_rows: environments in parallel.

    Raises:
        ValueError: if a window reaches into the past of a stream `next.*`, which no observation holds.
    """

    def __init__(self, windows: Sequence[Window], embodiment: Embodiment, num_rows: int) -> None:
        self.embodiment = embodiment
        self.num_rows = num_rows
        self._offsets = {
            window.key: [offset for offset in window.offsets if offset <= newest_known(window.key)]
            for window in windows
        }
        self._offsets = {key: offsets for key, offsets in self._offsets.items() if offsets}
        self._optional = {window.key for window in windows if window.optional}
        if unknown := sorted(filter(is_outcome, self._offsets)):
            raise ValueError(
                f"the policy reads the past of {unknown}, which no observation holds when it acts; train one whose "
                "windows on these streams have no offset below 0"
            )
        self._history: list[dict[str, deque[NDArray | _Gap]]] = [{} for _ in range(num_rows)]
        self._instructions = [""] * num_rows
        self._bodies = [embodiment] * num_rows
        self._steps = [0] * num_rows
        self._first = np.ones(num_rows, dtype=bool)
        self._started = np.zeros(num_rows, dtype=bool)

    @property
    def needs_every_step(self) -> bool:
        """Whether the windows reach into past observations, so that every step must be added by itself."""
        return any(min(offsets) < 0 for key, offsets in self._offsets.items() if key != ACTION_KEY)

    def copy(self) -> ContextBuilder:
        """Return a builder with the same past, whose rows go on independently of this one's."""
        other = copy(self)
        other._history = [{key: seen.copy() for key, seen in row.items()} for row in self._history]
        other._instructions, other._steps = self._instructions.copy(), self._steps.copy()
        other._first, other._started = self._first.copy(), self._started.copy()
        other._bodies = self._bodies.copy()
        return other

    def has_row(self, row: int) -> bool:
        """Return whether an episode was ever started in the row."""
        return bool(self._started[row])

    def reset(
        self,
        row: int,
        instruction: str,
        observation: Mapping[str, NDArray],
        cameras: Sequence[CameraCalibration] = (),
    ) -> None:
        """Start an episode in one row with its first observation.

        Args:
            row: which.
            instruction: what to do.
            observation: arrays by stream.
            cameras: calibrations that hold in this episode, instead of the body's own of the same streams.

        Raises:
            ValueError: if the observation has no stream under a name that any policy reads, or holds a vector that is
                not finite.
        """
        wanted = sorted(key for key in self._offsets if key != ACTION_KEY)
        names_a_stream = any(key in wanted or key.startswith(OBSERVATION_PREFIX) for key in observation)
        has_nothing = not observation and self._optional.issuperset(wanted)
        if (
            wanted and not names_a_stream and not has_nothing
        ):  # a blind policy reads no picture, though a window has one
            raise ValueError(
                f"the observation of row {row} has streams {sorted(observation)}, but the policy reads {wanted}; give "
                "them under these names"
            )
        self._refuse_non_finite(row, 0, observation)
        self._steps[row] = 0
        self._history[row] = {
            key: deque([] if key == ACTION_KEY else [observation[key]], maxlen=1 + newest_known(key) - min(offsets))
            for key, offsets in self._offsets.items()
            if key == ACTION_KEY or key in observation
        }
        self._instructions[row] = instruction
        self._bodies[row] = self.embodiment.with_cameras(cameras)
        self._first[row] = True
        self._started[row] = True

    def instruct(self, row: int, instruction: str) -> None:
        """Change the instruction of one row in the middle of its episode, and keep what the row has seen.

        Raises:
            ValueError: if no episode was started in the row.
        """
        if not self.has_row(row):
            raise ValueError(f"row {row} has no episode in which it could be told {brief(instruction)}; reset it first")
        self._instructions[row] = instruction

    def instruction(self, row: int) -> str:
        """Return the present instruction of one row; "" before its first episode."""
        return self._instructions[row]

    def add(self, row: int, actions: NDArray, observation: Mapping[str, NDArray]) -> None:
        """Add the steps of one row since the last call: the actions taken (n, A), and the observation after them.

        Raises:
            ValueError: if there are no steps, observations in between were left out that the windows need, or the
                observation lacks a stream that the episode's first one had or holds a vector that is not finite.
        """
        taken = np.array(actions, dtype=np.float32)
        if taken.ndim != 2 or not len(taken):
            raise ValueError(
                f"actions {taken.shape} must be (n, A), those of n >= 1 steps; give one step as action[None]"
            )
        if len(taken) > 1 and self.needs_every_step:
            raise ValueError(
                f"{len(taken)} actions at once, but the windows reach into past observations; add step by step, (1, A)"
            )
        gone = [
            key
            for key in self._history[row]
            if key != ACTION_KEY and key not in observation and key not in self._optional
        ]
        if gone:
            raise ValueError(
                f"the observation of row {row} lacks streams {gone}, which the episode began with, but has "
                f"{sorted(observation)}; give the same streams at every step"
            )
        self._refuse_non_finite(row, self._steps[row] + len(taken), observation)
        self._steps[row] += len(taken)
        for key, seen in self._history[row].items():
            if key == ACTION_KEY:
                seen.extend(taken)
            else:
                seen.append(observation[key] if key in observation else _Gap.after(seen[-1]))
        self._first[row] = False

    def _refuse_non_finite(self, row: int, step: int, observation: Mapping[str, NDArray]) -> None:
        """Look at the vectors that the policy reads; in pictures of distances NaN is no reading."""
        for key in self._offsets:
            value = np.asarray(observation[key]) if key != ACTION_KEY and key in observation else None
            if value is None or value.ndim > 1 or value.dtype.kind != "f" or np.isfinite(value).all():
                continue
            dimension = int(np.argmin(np.isfinite(value)))
            raise ValueError(
                f"the observation of row {row} at step {step} has {value.reshape(-1)[dimension]} in dimension "
                f"{dimension} of {key!r}; give finite numbers, or end the episode when a sensor fails"
            )

    def context(self) -> Context:
        """Return the context of all rows now."""
        past: dict[str, Track] = {}
        now: dict[str, Track] = {}
        for key, offsets in self._offsets.items():
            if key != ACTION_KEY and key not in self._history[0]:
                continue
            track = self._track(key, offsets)
            for group, chosen in ((past, track.offset < 0), (now, track.offset == 0)):
                if bool(chosen.any()):
                    group[key] = track.select(chosen)
        tasks = tuple(Task(told, body) for told, body in zip(self._instructions, self._bodies, strict=True))
        return Context(past, now, tasks, torch.from_numpy(self._first.copy()))

    def _track(self, key: str, offsets: Sequence[int]) -> Track:
        values, valid = [], []
        for history in self._history:
            seen = history.get(key, ())
            index = [len(seen) - 1 + offset - newest_known(key) for offset in offsets]
            valid.append([i >= 0 and not isinstance(seen[i], _Gap) for i in index])
            if seen:
                read = [_value(seen[max(i, 0)]) for i in index]
                values.append(stack_points(read) if read[0].ndim == _POINTS_DIMS else np.stack(read))
            else:
                values.append(np.zeros((len(offsets), self.embodiment.action_dim), dtype=np.float32))
        observed = torch.tensor(valid)
        if values[0].ndim != 1 + _POINTS_DIMS:
            return Track.of(torch.from_numpy(np.stack(values)), offsets, observed)
        count = max(value.shape[1] for value in values)
        padded = np.stack([np.stack([pad_points(each, count) for each in value]) for value in values])
        return Track.of_points(torch.from_numpy(padded), offsets, observed)


@dataclass(frozen=True)
class _Gap:
    """A step at which a stream was not given that a policy can do without; it stands with the last value, invalid."""

    value: NDArray

    @classmethod
    def after(cls, before: NDArray | _Gap) -> _Gap:
        return cls(_value(before))


def _value(seen: NDArray | _Gap) -> NDArray:
    return seen.value if isinstance(seen, _Gap) else seen
