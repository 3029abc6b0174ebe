"""What a policy with a world model planned and expected at every decision of an episode that was played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Actor, Controller
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline import PlanTellingPolicy
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, is_outcome

SIGNIFICANT_DIGITS = 6
"""Of the figures in files."""


@dataclass(frozen=True)
class EpisodePlans:
    """What was planned, expected and received at N decisions.

    Attributes:
        stride: control steps from one decision to the next.
        discount: of rewards from one decision to the next.
        actions: (N, H, A) of the plans, in the body's units.
        rewards: (N, H) that are expected of the planned actions; those of `stride` control steps are one.
        value: (N,) the discounted return that is expected from each decision on.
        received: (N,) rewards that came until the next decision.
    """

    stride: int
    discount: float
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    value: NDArray[np.float32]
    received: NDArray[np.float32]

    def to_json(self) -> dict[str, Any]:
        """Return what a report draws, as rollouts/index.json has it."""
        figures = {"value": self.value, "expected": self.rewards[:, 0], "received": self.received}
        rounded = {name: [float(f"{x:.{SIGNIFICANT_DIGITS}g}") for x in values] for name, values in figures.items()}
        return {"stride": self.stride, "discount": self.discount, **rounded}


def tells_plans(actor: Actor) -> TypeGuard[Controller]:
    """Return whether an actor can be asked for its plans; exported files, and policies towards a goal, cannot."""
    return isinstance(actor, Controller) and isinstance(actor.policy, PlanTellingPolicy)


def plans_of(controller: Controller, result: EpisodeResult) -> EpisodePlans:
    """Let a policy decide again on what it saw, and gather what it tells of its plans.

    It gets the noise that it had in the episode, and the actions that were done. So its decisions are those of the
    episode, up to the rounding of batched arithmetic.

    Args:
        controller: the policy behind its transforms; `tells_plans` is true of it.
        result: an episode with its recording.
    """
    policy, recording = controller.policy, result.recording
    assert isinstance(policy, PlanTellingPolicy)
    assert recording is not None
    seen = {key: values for key, values in recording.items() if key != ACTION_KEY and not is_outcome(key)}
    done, received = recording[ACTION_KEY], recording[REWARD_KEY][:, 0]
    builder = ContextBuilder(controller.windows, controller.embodiment, 1)
    builder.reset(0, result.instruction, _at(seen, 0), result.cameras)
    state = controller.with_seeds(controller.initial_state(1), [result.spec.seed])
    told, stride = [], 1
    for step in range(len(done)):
        if step > 0:
            builder.add(0, done[step - 1 : step], _at(seen, step))
        if step % stride == 0:
            chunk, state, plan = controller.tell(builder.context(), state)
            told.append(plan)
            stride = chunk.length
    actions, rewards, value = (
        np.concatenate([getattr(plan, name).float().cpu().numpy() for plan in told])
        for name in ("actions", "rewards", "value")
    )
    starts = np.arange(0, len(done), stride)
    return EpisodePlans(stride, policy.step_discount, actions, rewards, value, np.add.reduceat(received, starts))


def _at(streams: Mapping[str, NDArray], step: int) -> dict[str, NDArray]:
    return {key: values[step] for key, values in streams.items()}
