"""Conversion of users' observations, of one or several robots, in numpy or torch, to rows for a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.control.depths import as_depth
from tempovla.control.pictures import WANTED, as_frames
from tempovla.timeline import Embodiment, Window
from tempovla.timeline.arguments import brief
from tempovla.timeline.keys import (
    ACTION_KEY,
    IMAGE_KEY_PREFIX,
    OBSERVATION_PREFIX,
    POINTS_KEY_PREFIX,
    STATE_KEY,
    is_outcome,
)
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import PerDataset, TransformPipeline
from tempovla.transform.text import EmbedInstruction
from tempovla.transform.tokenize import TokenizeInstruction

TASK_KEY = "task"
"""Under which an observation holds the instruction."""
PICTURE_AXES = 3
POINTS_AXES = 2


@dataclass(frozen=True)
class Reads:
    """What a policy reads.

    Attributes:
        accepted: names under which streams may be given, all of them.
        required: those that every observation must hold; parts of a joined stream are not among them.
        embodiment: the body, whose state has a size.
        instruction: whether the policy reads an instruction.
        joined: streams that are joined from others; each may be given as a whole or in these parts.
        depths: streams of depth.
        optional: streams that may be missing; where they are given, they are those of the body.
    """

    accepted: frozenset[str]
    required: tuple[str, ...]
    embodiment: Embodiment
    instruction: bool = True
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    depths: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()

    @property
    def in_words(self) -> str:
        """The streams and the instruction that an observation must hold, and what it may hold, for people."""
        parts = [f"{key!r} (or {', '.join(map(repr, parts))})" for key, parts in self.joined.items()]
        words = [repr(TASK_KEY)] if self.instruction else []
        needed = ", ".join([*map(repr, self.required), *parts, *words]) or "nothing"
        spare = ", ".join(map(repr, sorted(self.optional)))
        return needed + (f", and where there are {spare}" if spare else "")

    @classmethod
    def of(
        cls,
        accepted: Sequence[Window],
        windows: Sequence[Window],
        transform: TransformPipeline,
        embodiment: Embodiment,
    ) -> Reads:
        """Return the streams that a policy behind a transform reads.

        Args:
            accepted: windows under every name that a stream may be given by.
            windows: those of the bundle.
            transform: what the observations go through.
            embodiment: the body.
        """
        steps = _steps(transform)
        spared = {
            part.key
            for step in steps
            if isinstance(step, JoinStreams)
            for forms in step.forms.values()
            for form in forms
            for part in form
        }
        spared |= {key for step in steps if isinstance(step, BlankImages) for key in step.cameras}
        depths = [step for step in steps if isinstance(step, ResizeDepth)]
        spared |= {key for step in depths if step.blank for key in step.keys}
        optional = frozenset(window.key for window in windows if window.optional)
        spared |= optional
        names = [window.key for window in windows if _is_observed(window.key) and min(window.offsets) <= 0]
        return cls(
            accepted=frozenset(window.key for window in accepted if _is_observed(window.key)),
            required=tuple(name for name in names if name not in spared),
            embodiment=embodiment,
            instruction=any(isinstance(step, EmbedInstruction | TokenizeInstruction) for step in steps),
            joined={
                key: tuple(part.key for part in forms[0])
                for step in steps
                if isinstance(step, JoinStreams)
                for key, forms in step.forms.items()
                if key != ACTION_KEY
            },
            depths=frozenset(key for step in depths for key in step.keys),
            optional=optional,
        )


@dataclass(frozen=True)
class Rows:
    """An observation, row by row.

    Attributes:
        streams: of each robot, by name.
        instructions: of each robot; None where the observation has none.
        is_batch: whether it was given as a batch, even of one.
        device: of the tensors that it was given as; None if it was given as arrays.
    """

    streams: list[dict[str, NDArray]]
    instructions: list[str] | None
    is_batch: bool
    device: torch.device | None

    def answer(self, actions: NDArray[np.float32]) -> Any:
        """Actions (B, ...) as the observation was given: one robot's without the first axis, tensors as tensors."""
        chosen = (actions if self.is_batch else actions[0]).copy()
        return chosen if self.device is None else torch.from_numpy(chosen).to(self.device)


def read_observation(observation: Mapping[str, Any], reads: Reads) -> Rows:
    """Return the rows of an observation; streams that the policy does not read are left out.

    Vectors are (D,), pictures (H, W, 3) uint8 or (3, H, W) floats from 0 to 1, depth (H, W, 1) or (1, H, W) floats in
    metres, points (N, F), in which rows of NaN are absent; a batch has one more axis before these. `task` holds the
    instruction, or a list of them.

    Raises:
        ValueError: in one line, if a stream is missing, has another size, is not finite, or is of one robot where
            another is of several.
    """
    if not isinstance(observation, Mapping):
        raise ValueError(f"the observation is a {type(observation).__name__}; give a mapping of names to arrays")
    if missing := [key for key in reads.required if key not in observation]:
        told = f", and {TASK_KEY!r}" if reads.instruction else ""
        raise ValueError(
            f"the observation lacks {missing}: it holds {sorted(map(str, observation))}, and the policy reads "
            f"{sorted(reads.required)}{told}{_hint(missing, observation, reads)}"
        )
    others = [key for key in observation if key != TASK_KEY]
    if (
        reads.optional
        and others
        and not any(str(key).startswith((*reads.accepted, OBSERVATION_PREFIX)) for key in others)
    ):
        raise ValueError(
            f"the observation holds {sorted(map(str, others))}, but the policy reads {sorted(reads.optional)}"
            f"{_hint(sorted(reads.optional), observation, reads)}; give the streams that there are under these names"
        )
    tensors = [value for key, value in observation.items() if key in reads.accepted and isinstance(value, torch.Tensor)]
    arrays = {key: _array(key, value, reads) for key, value in observation.items() if key in reads.accepted}
    tasks = observation.get(TASK_KEY)
    if isinstance(tasks, np.ndarray) and tasks.dtype.kind == "U" and tasks.ndim < 2:
        tasks = tasks.tolist()
    count = _rows_given(arrays, tasks)
    batched = {key: value if count is not None else value[None] for key, value in arrays.items()}
    for key, value in batched.items():
        _check_vector(key, value, reads)
    rows = [{key: value[row].copy() for key, value in batched.items()} for row in range(count or 1)]
    return Rows(rows, _instructions(tasks, count), count is not None, tensors[0].device if tensors else None)


def _is_observed(key: str) -> bool:
    return key != ACTION_KEY and not is_outcome(key)


def _steps(transform: TransformPipeline) -> list[Any]:
    steps: list[Any] = []
    for step in transform.steps:
        steps += [s for view in step.views.values() for s in view.all_steps] if isinstance(step, PerDataset) else [step]
    return steps


def _hint(missing: Sequence[str], observation: Mapping[str, Any], reads: Reads) -> str:
    """Which name of an observation was probably meant for a missing one; "" if none was."""
    others = [str(key) for key in observation if key not in reads.accepted and key != TASK_KEY]
    for wanted in missing:
        same = [other for other in others if other.rpartition(".")[2] == wanted.rpartition(".")[2]]
        for meant in (*same, *get_close_matches(wanted, others, n=1, cutoff=0.8)):
            return f"; rename {meant!r} to {wanted!r}"
    return ""


def _array(key: str, value: Any, reads: Reads) -> NDArray:
    """A stream's value: pictures as uint8 (..., H, W, 3), depth as float32 (..., H, W, 1), vectors as float32."""
    array = as_numbers(f"the observation's {key!r}", value)
    if array.ndim > PICTURE_AXES + 1:
        raise ValueError(f"the observation's {key!r} is {array.shape}; give one step of it, not a sequence of steps")
    if key in reads.depths:
        return as_depth(key, array)
    if _holds_points(key):
        return _points(key, array)
    if array.ndim >= PICTURE_AXES and key != STATE_KEY:
        return as_frames(key, array)
    if key.startswith(IMAGE_KEY_PREFIX):
        raise ValueError(f"the picture {key!r} is {array.shape} {array.dtype}, without an axis of colours; {WANTED}")
    if array.ndim >= PICTURE_AXES:
        raise ValueError(f"the observation's {key!r} is {array.shape}; give a vector (D,), or (B, D) for a batch")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        return np.atleast_1d(array).astype(np.float32)


def as_numbers(name: str, value: Any) -> NDArray:
    """Return an array of what a user gave as numbers.

    Args:
        name: what it is called, for the message.
        value: an array, a tensor on any device, or nested lists of numbers.

    Raises:
        ValueError: in one line, if it is none of these.
    """
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            raise ValueError(f"{name} is a tensor on the device meta, which has no values; give it on cpu or cuda")
        value = value.detach().cpu().to_dense()
        value = value.float() if value.dtype == torch.bfloat16 else value
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has {int(np.ma.count_masked(value))} masked values; give it with all of its values")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} is {brief(value)}; give an array of numbers")
    return array


def _rows_given(arrays: Mapping[str, NDArray], tasks: Any) -> int | None:
    """How many robots the observation is of; None for one without an axis of its own.

    Raises:
        ValueError: if its parts are of different numbers.
    """
    counts = {key: len(value) if _is_batch(key, value) else None for key, value in arrays.items()}
    if isinstance(tasks, list | tuple):
        counts[TASK_KEY] = len(tasks)
    elif not counts:
        return None
    if len(set(counts.values())) > 1:
        told = ", ".join(
            f"{key!r} is of {'one robot' if n is None else f'a batch of {n}'}" for key, n in counts.items()
        )
        raise ValueError(
            f"the observation does not tell how many robots it is of: {told}; give all with one batch size"
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise ValueError("the observation is a batch of no robots; give at least one row")
    return count


def _is_batch(key: str, value: NDArray) -> bool:
    return value.ndim == POINTS_AXES + 1 if _holds_points(key) else value.ndim in (2, PICTURE_AXES + 1)


def _holds_points(key: str) -> bool:
    return key.startswith(POINTS_KEY_PREFIX)


def _points(key: str, array: NDArray) -> NDArray[np.float32]:
    """Sets of points as float32 (..., N, F)."""
    if array.ndim not in (POINTS_AXES, POINTS_AXES + 1):
        raise ValueError(f"the observation's {key!r} is {array.shape}; give points (N, F), or (B, N, F) for a batch")
    return array.astype(np.float32)


def _check_vector(key: str, rows: NDArray, reads: Reads) -> None:
    """Refuse vectors (B, D) that are not finite, and a state of another size than the body's."""
    if rows.ndim != 2:
        return
    body = reads.embodiment
    is_whole = key in reads.required or key in reads.optional  # and not joined from parts of other sizes
    if key == STATE_KEY and is_whole and rows.shape[1] != body.state_dim:
        raise ValueError(
            f"the observation's {key!r} has {rows.shape[1]} dimensions, but the policy learned with "
            f"{body.state_dim}, those of {body.name or 'its robot'}; give the observations of that body"
        )
    finite = np.isfinite(rows)
    if not finite.all():
        row, dimension = np.argwhere(~finite)[0]
        where = f" of row {row}" if len(rows) > 1 else ""
        raise ValueError(
            f"the observation's {key!r} has {rows[row, dimension]} in dimension {dimension}{where}; give finite "
            "numbers, or end the episode when a sensor fails"
        )


def _instructions(tasks: Any, count: int | None) -> list[str] | None:
    """The instruction of each row."""
    if tasks is None:
        return None
    told = list(tasks) if isinstance(tasks, list | tuple) else [tasks] * (count or 1)
    if not all(isinstance(each, str) for each in told):
        raise ValueError(
            f"the observation's {TASK_KEY!r} is {brief(tasks)}; give an instruction in words, or a list of them"
        )
    return told
