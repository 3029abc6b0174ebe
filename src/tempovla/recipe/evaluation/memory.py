"""Evaluate a checkpoint on the memory benchmark, with as much to remember as there was in its demonstrations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tempovla.control.load_actor import provenance_of
from tempovla.env.memory import MemoryConfig
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.rollout.evaluate import EvaluationConfig

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemorySpans:
    """How long there is something to see and to remember; None takes what the demonstrations were recorded with.

    Attributes:
        cue_steps: observations that show the cue; 8 if nobody knows.
        delay_steps: control steps for which the hand is held after the cue, and after each touch; 12 if nobody knows.
    """

    cue_steps: int | None = None
    delay_steps: int | None = None


def evaluate_memory(
    checkpoint: str | Path,
    spans: MemorySpans,
    config: EvaluationConfig,
    tasks: Sequence[str],
    *,
    dataset_name: str | None = None,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """Run `config.episodes` episodes of each task.

    Returns:
        What `evaluate_checkpoint` does.

    Raises:
        ValueError: for an unknown task, or chunks long enough to carry a cue, and as `evaluate_checkpoint` does.
    """
    simulator = MemoryConfig()
    for task in tasks:
        simulator.check_task(task)
    recorded = provenance_of(checkpoint, dataset_name, simulator).get("recording", {})
    env_config = memory_config(spans, recorded)
    return evaluate_checkpoint(checkpoint, env_config, tasks, config, dataset_name=dataset_name, outputs=outputs)


def memory_config(spans: MemorySpans, recorded: Mapping[str, Any]) -> MemoryConfig:
    """What is asked for, else what was recorded; warns where it is not, or may not be, what the policy learned from."""
    known = recorded if recorded.get("simulator") == "memory" else {}
    default = MemoryConfig()
    chosen: dict[str, Any] = {}
    for name in ("cue_steps", "delay_steps"):
        asked, trained = getattr(spans, name), known.get(name)
        chosen[name] = next(value for value in (asked, trained, getattr(default, name)) if value is not None)
        if trained is not None and chosen[name] != trained:
            LOGGER.warning(
                "%s is %d, but the policy was trained on %d: it is asked about moments that it has never seen",
                *(name, chosen[name], trained),
            )
        elif trained is None and asked is None:
            LOGGER.warning("the checkpoint does not know its demonstrations' %s; taking %d", name, chosen[name])
    LOGGER.info(", ".join(f"{name} {value}" for name, value in chosen.items()))
    return replace(default, **chosen)
