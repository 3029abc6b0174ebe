"""Evaluate a checkpoint on a LIBERO suite, as the benchmark does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tempovla.env.libero import LiberoConfig
from tempovla.recipe.evaluation import InitStates, Outputs, evaluate_checkpoint, recording_of
from tempovla.rollout.evaluate import EvaluationConfig


@dataclass(frozen=True)
class LiberoSuite:
    """What is played and how it is drawn; None takes what the checkpoint's demonstrations were recorded with.

    Attributes:
        suite: libero_object, libero_spatial, libero_goal, libero_10 or libero_90; libero_object if nobody knows.
        rendering: `exact` (robosuite's pixels; if nobody knows) or `fast`.
        image_size: height and width of a camera's picture [px]; 128 if nobody knows.
        init_states: the benchmark's fixed initial states 0, 1, ..., or random ones that the seed draws.
    """

    suite: str | None = None
    rendering: Literal["exact", "fast"] | None = None
    image_size: int | None = None
    init_states: InitStates = "benchmark"


def evaluate_libero(
    checkpoint: str | Path,
    suite: LiberoSuite,
    config: EvaluationConfig,
    *,
    tasks: Sequence[str] = (),
    instruction: str | None = None,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """Run `config.episodes` trials of each task, all of the suite's unless some are named.

    Returns:
        What `evaluate_checkpoint` does.

    Raises:
        ValueError: for an unknown suite or task, and as `evaluate_checkpoint` does.
    """
    recorded = recording_of(checkpoint)
    asked = {name: getattr(suite, name) for name in ("suite", "rendering", "image_size")}
    known = {name: recorded[name] for name in asked if recorded.get("simulator") == "libero" and name in recorded}
    env_config = replace(LiberoConfig(), **known | {name: value for name, value in asked.items() if value is not None})
    return evaluate_checkpoint(
        checkpoint,
        env_config,
        tasks or env_config.task_names(),
        config,
        init_states=suite.init_states,
        instruction=instruction,
        outputs=outputs,
    )
