"""Evaluations in which the object of the task is moved in the middle of every episode."""

from __future__ import annotations

from dataclasses import replace

from tempovla.env.disturbance import Disturbance
from tempovla.env.protocol import SimulatorConfig
from tempovla.rollout.evaluate import EvaluationConfig


def with_disturbance(env_config: SimulatorConfig, config: EvaluationConfig) -> SimulatorConfig:
    """Return the simulator in which the object of the task is moved, where the evaluation asks for that.

    Args:
        env_config: the simulator, with the limit of its episodes.
        config: the evaluation.

    Raises:
        ValueError: if the simulator cannot move it, or the episodes end before.
    """
    step, limit = config.disturb_step, env_config.max_steps
    if step is None:
        return env_config
    if "disturbance" not in env_config.__dataclass_fields__:
        raise ValueError(f"disturb_step={step}: {env_config.title} moves no object within an episode; leave it out")
    if limit is not None and step >= limit:
        raise ValueError(
            f"disturb_step={step} is never reached, because an episode has at most max_steps={limit} steps; give a "
            "smaller one, or raise max_steps"
        )
    shift = {} if config.disturb_shift_m is None else {"shift_m": config.disturb_shift_m}
    return replace(env_config, disturbance=Disturbance(step, **shift))


def disturbance_of(env_config: SimulatorConfig) -> Disturbance | None:
    """Return what is moved in every episode of this simulator; None if nothing is."""
    return getattr(env_config, "disturbance", None)


def in_words(disturbance: Disturbance | None) -> str:
    """Return what is moved and when, to go behind a sentence; empty if nothing is."""
    if disturbance is None:
        return ""
    after = "before the first action" if not disturbance.step else f"after {disturbance.step} control steps"
    return f", with the task's object moved by {disturbance.shift_m:g} m {after}"
