"""Evaluate a checkpoint in Meta-World."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.env.metaworld import IMAGE_KEY_PREFIX, MetaWorldConfig
from tempovla.env.metaworld_tasks import INSTRUCTIONS, check_task
from tempovla.recipe.results import command, machine, pool, summarize, versions
from tempovla.recipe.stages import cpu_seconds, write_json
from tempovla.rollout.controller import Controller
from tempovla.rollout.evaluate import EvaluationConfig, evaluation_specs, run_specs, success_rates
from tempovla.rollout.recorder import RolloutRecorder
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline import Bundle

LOGGER = logging.getLogger(__name__)


def evaluate_checkpoint(
    checkpoint: str | Path,
    tasks: Sequence[str],
    config: EvaluationConfig,
    *,
    instruction: str | None = None,
    results_file: str | Path | None = None,
    record_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Run fresh episodes of each task, and count successes.

    Args:
        checkpoint: folder that training saved.
        tasks: Meta-World's names.
        config: how many episodes, and how.
        instruction: what the policy is told, in place of each task's own words.
        results_file: where to write what is returned.
        record_dir: LeRobot v3.0 dataset to write with all episodes.

    Returns:
        `tasks`, `mean` and the rest of docs/systems/report.md's results.json, and `episodes`, one by one.

    Raises:
        ValueError: if the checkpoint is broken, of phase 1 or of another robot, a task is unknown, or `record_dir` is
            not empty.
    """
    for task in tasks:
        check_task(task)
    bundle = Bundle.load(checkpoint)
    check_acts_here(bundle, str(checkpoint))
    if results_file is not None:
        Path(results_file).parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cameras = [w.key.removeprefix(IMAGE_KEY_PREFIX) for w in bundle.windows if w.key.startswith(IMAGE_KEY_PREFIX)]
    env_config = replace(MetaWorldConfig(), cameras=tuple(cameras))
    told = {task: INSTRUCTIONS[task] if instruction is None else instruction for task in tasks}
    specs = [replace(spec, record=record_dir is not None) for spec in evaluation_specs(tasks, config, told)]
    recorder = None if record_dir is None else RolloutRecorder(record_dir, METAWORLD_SAWYER)

    def on_end(result: EpisodeResult) -> EpisodeResult:
        outcome = "success" if result.success else "failure"
        LOGGER.info("%s, seed %d: %s after %d steps", result.spec.task, result.spec.seed, outcome, result.steps)
        if recorder is not None:
            recorder.add(result)
        return replace(result, recording=None, final=None)  # on the disk now; all of them would fill the memory

    cpu_s, wall_s = cpu_seconds(), time.monotonic()
    with recorder or nullcontext():
        episodes = run_specs(Controller.from_bundle(bundle), specs, env_config, config, on_end)
    rates = success_rates(episodes)
    results = {
        "title": f"{bundle.policy} on Meta-World",
        "tasks": {task: {"instruction": told[task]} | summarize(rate) for task, rate in rates.items()},
        "mean": summarize(pool(list(rates.values()))),
        "cpu_seconds": round(cpu_seconds() - cpu_s, 2),
        "wall_seconds": round(time.monotonic() - wall_s, 2),
        "seed": config.seed,
        "command": command(),
        "versions": versions(),
        "machine": machine(),
        "checkpoint": str(checkpoint),
        "episodes": [episode.to_json() for episode in episodes],
    }
    if results_file is not None:
        write_json(Path(results_file), results)
    return results


def check_acts_here(bundle: Bundle, where: str) -> None:
    """Refuse a policy that was not made for Meta-World's robot, or that has not learned to act yet.

    Raises:
        ValueError: naming the checkpoint and the remedy.
    """
    body, here = bundle.embodiment, METAWORLD_SAWYER
    if (body.state_dim, body.action_dim) != (here.state_dim, here.action_dim):
        raise ValueError(
            f"{where}: made for {body.name or 'a robot'} with {body.state_dim} state and {body.action_dim} action "
            f"dimensions, but Meta-World's has {here.state_dim} and {here.action_dim}; give a checkpoint trained on it"
        )
    if bundle.provenance.get("phase") == 1:
        raise ValueError(f"{where}: a checkpoint of phase 1 has not learned to act yet; train phase 2 and give that")
