"""Adds other evaluations to a policy's results, as baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tempovla.report.run import BaselineName, Rate, Results, TaskResult, plain_mean, read_results_file

_SAYS_WRONG = "wrong_commands"
"""The setting of a simulator that says the instructions itself."""
_EXPECTED: Mapping[BaselineName, Sequence[str]] = {
    "blind": ("cameras", "render", "depth", "lidar", "radar", "imu"),
    "wrong_instruction": (_SAYS_WRONG,),
}
"""Settings in which a baseline differs by its nature: what is seen changes no episode."""
_WHOSE = {"blind": "blind policy", "wrong_instruction": "policy with the wrong instruction"}


def with_baselines(results: Results, baselines: Mapping[BaselineName, Path], own: Path | None = None) -> Results:
    """Return the results with other evaluations of the same tasks as baselines, which replace earlier ones.

    Args:
        results: of the policy.
        baselines: by name, the folder of an evaluation or its results.json.
        own: the results.json of the policy, which is a baseline of nothing.

    Raises:
        ValueError: naming the file, if it is no results.json, is the policy's own, is of other tasks, or gave the
            policy the right instruction where a wrong one is claimed.
    """
    for name, path in baselines.items():
        file = file_of(path)
        if file.exists() and own is not None and own.exists() and file.samefile(own):
            raise ValueError(
                f"--{name} {path} is the evaluation that the report is about; give that of the {_WHOSE[name]}"
            )
        results = _with_baseline(results, name, read_results_file(file), file)
    return results


def file_of(path: Path) -> Path:
    """Return the results.json of an evaluation that is named by its folder or by the file itself."""
    return path if path.suffix == ".json" and not path.is_dir() else path / "results.json"


def _with_baseline(results: Results, name: BaselineName, other: Results, file: Path) -> Results:
    theirs = {task.name: task for task in other.tasks}
    ours = [task.name for task in results.tasks]
    if alone := [task for task in ours if task not in theirs] or [task for task in theirs if task not in ours]:
        whose = "lacks" if alone[0] in ours else "has"
        raise ValueError(
            f"--{name} {file} {whose} the task {alone[0]!r}, unlike the run's own results; evaluate the same tasks"
        )
    for task in results.tasks:
        if name == "wrong_instruction" and task.instruction == theirs[task.name].instruction is not None:
            raise ValueError(
                f"--{name} {file}: {task.name} was told {task.instruction!r}, as in the run itself; give an evaluation "
                "with `--wrong_instruction true`"
            )
    if name == "wrong_instruction" and other.simulator.get(_SAYS_WRONG) is False:
        raise ValueError(
            f"--{name} {file}: its simulator said what is right; give an evaluation with `--wrong_instruction true`"
        )
    tasks = tuple(_replaced(task, name, theirs[task.name].policy) for task in results.tasks)
    same_scope = all(task.counted == theirs[task.name].counted for task in results.tasks)
    mean = other.mean if same_scope else plain_mean(tuple(theirs[task.name] for task in tasks if task.counted))
    remarks = (*results.remarks, *unlike(results, name, other))
    return replace(results, tasks=tasks, mean=_replaced(results.mean, name, mean.policy), remarks=remarks)


def unlike(results: Results, name: BaselineName, other: Results) -> list[str]:
    """Return a sentence if the baseline's episodes are not the policy's, by what both files tell of them.

    Args:
        results: of the policy.
        name: of the baseline.
        other: results of the baseline.
    """
    ours, theirs = results.simulator, other.simulator
    differing = []
    if ours and theirs:
        differing = [
            (key, ours.get(key), theirs.get(key))
            for key in {**ours, **theirs}
            if ours.get(key) != theirs.get(key) and key not in _EXPECTED[name]
        ]
    if None not in (results.seed, other.seed) and results.seed != other.seed:
        differing.append(("seed", results.seed, other.seed))
    if not differing:
        return []
    told = "; ".join(f"{key} is {_shown(one)} here and {_shown(another)} there" for key, one, another in differing)
    return [f"The {_WHOSE[name]} was evaluated on other episodes than the policy: {told}."]


def _shown(value: Any) -> str:
    """A setting as text; a missing one is none."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    return "none" if value is None else str(value)


def _replaced(task: TaskResult, name: BaselineName, rate: Rate) -> TaskResult:
    return replace(task, blind=rate) if name == "blind" else replace(task, wrong_instruction=rate)
