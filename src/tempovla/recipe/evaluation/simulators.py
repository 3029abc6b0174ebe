"""Evaluate a checkpoint in a simulator by its name, as its demonstrations were recorded there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.control.load_actor import provenance_of
from tempovla.env.defaults import InitStates
from tempovla.env.registry import simulator_class
from tempovla.recipe.evaluation.closed_loop import evaluate_checkpoint
from tempovla.recipe.evaluation.goals import GoalOptions
from tempovla.recipe.evaluation.outputs import Outputs
from tempovla.recipe.evaluation.scores import in_their_place
from tempovla.rollout.evaluate import EvaluationConfig
from tempovla.timeline.arguments import brief, path_argument, plain, text_argument


def evaluate(
    checkpoint: str | Path,
    simulator: str,
    tasks: Sequence[str] | None = None,
    config: EvaluationConfig | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    init_states: InitStates | None = None,
    instruction: str | Mapping[str, str] | None = None,
    wrong_instruction: bool = False,
    dataset_name: str | None = None,
    device: str | None = None,
    library: str | Path | None = None,
    model: Mapping[str, Any] | None = None,
    goal: str | Path | GoalOptions | None = None,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """Run fresh episodes of each task in a simulator, and count successes or average returns, whichever is its score.

    Args:
        checkpoint: folder that training saved, or a file that was exported of it.
        simulator: a name in `SIMULATOR_REGISTRY`.
        tasks: the simulator's names of tasks; None or an empty list takes those that the policy was trained on, or the
            whole suite.
        config: how many episodes of each task, 20 by default, and how: `EvaluationConfig(episodes=50, seed=1)`.
        settings: values of the simulator's config that a dataset records, such as `rendering`; those that are left out
            or None are what the checkpoint's demonstrations were recorded with.
        init_states: `benchmark` begins episode i at the benchmark's i-th initial state, `random` draws it by the seed;
            None is the simulator's own way.
        instruction: one instruction for all tasks, or one by task, in place of the tasks' own.
        wrong_instruction: give the policy the next task's instruction, and count success on the scene's own task.
        dataset_name: of a policy that learned from several datasets, whose body it is to move; None: the simulator's.
        device: where it decides, `cpu` or `cuda`; None takes CUDA where there is one.
        library: earlier episodes for a policy that retrieves, instead of those in its checkpoint: a dataset, or a file
            of `EpisodicMemory.save`.
        model: other values of settings that control alone reads, such as `{"rrr_replan_threshold": 1.5}`.
        goal: what a policy with a world model plans towards, instead of what it learned: the step of a dataset or of
            the `replay` of a run, such as "outputs/swingup/replay:3:40", or `GoalOptions` with more.
        outputs: what to write: `Outputs(results="results.json", recordings="episodes", videos="films")`.

    Returns:
        The figures that the seeds determine, as in results.json: `tasks` and `mean`, with `success`, `episodes` and the
        95% interval `ci95`, and `episodes`, one by one. Where the score is the return, `score` is "return", and they
        have `return`, `episodes` and `return_ci95`.

    Raises:
        ValueError: for an unknown simulator or task, and as `evaluate_checkpoint` does.
    """
    path_argument("checkpoint", checkpoint, "a checkpoint or of an exported file")
    config_class = simulator_class(text_argument("simulator", simulator, "metaworld"))
    if config is not None and not isinstance(config, EvaluationConfig):
        raise ValueError(
            f"config={brief(config)} is no EvaluationConfig; give one, such as EvaluationConfig(episodes=20)"
        )
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(f"settings={brief(settings)}: give names and values, such as {{'rendering': 'fast'}}")
    settings = {name: plain(value) for name, value in (settings or {}).items()}
    unknown = [name for name in settings if name not in config_class.recorded]
    if unknown:
        known = ", ".join(config_class.recorded) or "none"
        raise ValueError(f"settings: {simulator} has no {unknown[0]!r} that a dataset records; it has {known}")
    tasks = [] if tasks is None else tasks.tolist() if isinstance(tasks, np.ndarray) else tasks
    if isinstance(tasks, str):
        raise ValueError(f"tasks={tasks!r} is a text; give a list, [{tasks!r}]")
    if not isinstance(tasks, Sequence) or not all(isinstance(task, str) for task in tasks):
        raise ValueError(f"tasks={brief(tasks)}: give a list of names, such as {list(config_class().task_names())[:2]}")
    tasks = tuple(dict.fromkeys(tasks))
    if config_class.tasks_are_fixed:
        for task in tasks:
            config_class().check_task(task)
    provenance = provenance_of(checkpoint, dataset_name, in_their_place(config_class(), tasks))
    env_config = config_class.from_recording(provenance.get("recording", {}), simulator, **settings)
    return evaluate_checkpoint(
        checkpoint,
        env_config,
        tasks or env_config.default_tasks(provenance.get("instructions", ())),
        config or EvaluationConfig(),
        init_states=init_states or env_config.default_init_states,
        instruction=instruction,
        wrong_instruction=wrong_instruction,
        dataset_name=dataset_name,
        device=device,
        library=library,
        model=model,
        goal=goal,
        outputs=outputs,
    )
