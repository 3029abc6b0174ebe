"""The control steps that a sample of now and k steps later holds, by type of robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from tempovla.timeline.arguments import brief, whole_number
from tempovla.timeline.window import FARTHEST


@dataclass(frozen=True)
class TemporalDataConfig:
    """The control steps of one sample, relative to now, which is step 0.

    Attributes:
        observation_indices: steps at which pictures and states are read; 0 is now, and k is among them if there is a
            target k steps later.
        action_indices: steps of the actions to imitate, from 0 to T - 1.
        temporal_delta_k: k; None takes the furthest of the observations, and a config that observes nothing after now
            has no target.
        has_gripper: whether the last dimension of an action is a binary gripper, which is not normalised.
    """

    observation_indices: tuple[int, ...] = (0,)
    action_indices: tuple[int, ...] = tuple(range(16))
    temporal_delta_k: int | None = None
    has_gripper: bool = False

    def __post_init__(self) -> None:
        for name in ("observation_indices", "action_indices"):
            object.__setattr__(self, name, _steps(name, getattr(self, name)))
        if 0 not in self.observation_indices:
            raise ValueError(f"observation_indices {_shown(self.observation_indices)} must hold 0, which is now; add 0")
        expected = tuple(range(len(self.action_indices)))
        if self.action_indices != expected:
            raise ValueError(
                f"action_indices {_shown(self.action_indices)} must be consecutive steps from 0 on, without a gap; "
                f"give {_shown(expected)}"
            )
        if self.temporal_delta_k is None:
            return
        k = whole_number("temporal_delta_k", self.temporal_delta_k, 1)
        if k not in self.observation_indices:
            raise ValueError(
                f"temporal_delta_k={k} is not among observation_indices {_shown(self.observation_indices)}; add {k} to "
                "them, or set temporal_delta_k to one of them"
            )

    @property
    def k(self) -> int | None:
        """How many steps after now the target is; None if no step after now is observed."""
        if self.temporal_delta_k is not None:
            return self.temporal_delta_k
        furthest = self.observation_indices[-1]
        return furthest if furthest > 0 else None

    @property
    def action_horizon(self) -> int:
        """Number of actions T."""
        return len(self.action_indices)


@dataclass(frozen=True)
class Libero4in1DataConfig(TemporalDataConfig):
    """LIBERO with eight actions and k = 7, the last of them: the frame does not yet show what the eighth action does.

    It is there to compare with policies that were trained so; `Libero4in1WholeChunkDataConfig` is the better choice.
    """

    observation_indices: tuple[int, ...] = (0, 7)
    action_indices: tuple[int, ...] = tuple(range(8))
    has_gripper: bool = True


@dataclass(frozen=True)
class Libero4in1WholeChunkDataConfig(Libero4in1DataConfig):
    """LIBERO with eight actions and k = 8: the target is the frame after all of them, which control sees next."""

    observation_indices: tuple[int, ...] = (0, 8)


@dataclass(frozen=True)
class SingleFrameDataConfig(TemporalDataConfig):
    """Sixteen actions and the frame of now: without a target."""

    has_gripper: bool = True


ROBOT_TYPE_REGISTRY: dict[str, type[TemporalDataConfig]] = {
    "libero_franka": Libero4in1DataConfig,
    "libero_franka_whole_chunk": Libero4in1WholeChunkDataConfig,
    "oxe_bridge": SingleFrameDataConfig,
    "oxe_rt1": SingleFrameDataConfig,
}
"""Types of robots by name, each with its config, which is built without arguments."""


def close_names(name: Any, known: Sequence[str], what: str) -> str:
    """Return the remedy for an unknown name: the nearest ones, or all."""
    near = get_close_matches(str(name), known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"{what} are {', '.join(known) or 'none'}"


def _steps(name: str, given: Any) -> tuple[int, ...]:
    """Control steps in increasing order.

    Raises:
        ValueError: in one line, if they are no such steps.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise ValueError(f"{name}={brief(given)} must be a list of control steps, such as [0, 7]")
    steps = tuple(whole_number(f"{name}[{place}]", step) for place, step in enumerate(given))
    if not steps:
        raise ValueError(f"{name} is empty; name at least step 0")
    doubled = [step for place, step in enumerate(steps) if step in steps[:place]]
    if doubled:
        raise ValueError(f"{name} {_shown(steps)} names step {doubled[0]} twice; name each step once")
    far = [step for step in steps if abs(step) > FARTHEST]
    if far:
        raise ValueError(
            f"{name} names step {far[0]}, which is more than {FARTHEST:,} steps from now; name nearer ones"
        )
    if any(after < before for before, after in pairwise(steps)):
        raise ValueError(f"{name} {_shown(steps)} must increase; sort them")
    if name == "action_indices" and steps[0] < 0:
        raise ValueError(f"{name} names step {steps[0]}, but actions to imitate begin at 0; leave earlier steps out")
    return steps


def _shown(steps: Sequence[int]) -> str:
    return brief(list(steps))
