"""Memories of policies along recorded episodes, which are gone through step by step as in control."""

from __future__ import annotations

from typing import Any

from tempovla.control.controller import Actor, Controller
from tempovla.timeline import TimelineSample
from tempovla.timeline.capabilities import StridedPolicy, training_windows


def carries_memory(actor: Actor) -> bool:
    """Return whether a policy remembers every control step before, so that its samples must come one by one, in order.

    A policy that sees one frame in several is asked at every step, and each time as at the beginning of an episode.
    """
    policy: Any = actor.policy if isinstance(actor, Controller) else None
    stride = policy.frame_stride if isinstance(policy, StridedPolicy) else None
    if stride != 1:
        return False
    acting = {window.key: min(window.offsets) for window in policy.windows()}
    return any(min(window.offsets) < acting.get(window.key, 0) for window in training_windows(policy))


def state_at(actor: Actor, sample: TimelineSample, carried: Any) -> Any:
    """Return the state in which a policy meets a sample: the one that was carried there, or a new one."""
    state = actor.initial_state(sample.batch_size) if carried is None else carried
    return actor.with_seeds(state, sample.seed.tolist())
