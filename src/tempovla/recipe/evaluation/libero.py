"""Evaluate a checkpoint on a LIBERO suite, as the benchmark does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tempovla.control.load_actor import provenance_of
from tempovla.env.libero import LiberoConfig
from tempovla.env.libero_suites import STEP_LIMITS, problem_words
from tempovla.recipe.evaluation.closed_loop import InitStates, evaluate_checkpoint
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.rollout.evaluate import EvaluationConfig

LOGGER = logging.getLogger(__name__)


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
    wrong_instruction: bool = False,
    dataset_name: str | None = None,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """Run `config.episodes` trials of each task, all of the suite's unless some are named.

    Returns:
        What `evaluate_checkpoint` does.

    Raises:
        ValueError: for an unknown suite or task, and as `evaluate_checkpoint` does.
    """
    provenance = provenance_of(checkpoint, dataset_name, LiberoConfig())
    env_config = libero_config(suite, provenance.get("recording", {}))
    trained = provenance.get("instructions", ())
    return evaluate_checkpoint(
        checkpoint,
        env_config,
        tasks or env_config.task_names(),
        config,
        init_states=suite.init_states,
        instruction=instruction,
        wrong_instruction=wrong_instruction,
        wording=lambda task: familiar_words(env_config, task, trained),
        dataset_name=dataset_name,
        outputs=outputs,
    )


def libero_config(suite: LiberoSuite, recorded: Mapping[str, Any]) -> LiberoConfig:
    """What is asked for, else what was recorded; warns where pictures are not, or may not be, those of training."""
    known = recorded if recorded.get("simulator") == "libero" else {}
    default = LiberoConfig()
    chosen: dict[str, Any] = {}
    for name in ("suite", "rendering", "image_size"):
        asked, trained = getattr(suite, name), known.get(name)
        chosen[name] = next(value for value in (asked, trained, getattr(default, name)) if value is not None)
        if trained is not None and chosen[name] != trained:
            LOGGER.warning("%s is %s, but the policy was trained on %s", name, chosen[name], trained)
        elif trained is None and asked is None:
            LOGGER.warning("the checkpoint does not know its demonstrations' %s; taking %s", name, chosen[name])
    LOGGER.info(", ".join(f"{name} {value}" for name, value in chosen.items()))
    return replace(default, **chosen, max_steps=STEP_LIMITS.get(chosen["suite"]))  # said in the results


def familiar_words(env_config: LiberoConfig, task: str, trained: Sequence[str]) -> str:
    """A task in the words that the policy was trained on; in the benchmark's where it was trained on others.

    LIBERO words most tasks twice: the benchmark's name, and the BDDL file, whose words its own demonstrations carry.

    Args:
        env_config: names the suite.
        task: one of the suite's names.
        trained: the instructions of the demonstrations; empty where nobody knows.
    """
    known = {words.casefold(): words for words in trained}
    wordings = (env_config.instruction(task), problem_words(env_config.suite, task))
    return next((known[words.casefold()] for words in wordings if words.casefold() in known), wordings[0])
