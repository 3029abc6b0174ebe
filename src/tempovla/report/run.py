"""Reading a run directory: results, learning curves and rollout videos, checked before anything is drawn.

The layout is described in docs/systems/report.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tempovla.report.fields import Reader, is_number, load_json
from tempovla.report.labels import task_labels
from tempovla.report.measured import Measured, read_measured
from tempovla.report.plan_figures import PlanFigures, read_plan_figures
from tempovla.storage.json_files import read_log, shown
from tempovla.storage.paths import inside

NOT_DRAWN = {"train_step", "phase", "cpu_s"}
VALIDATION_PREFIX = "val_"
CLIP_KINDS = ("policy", "wrong_instruction")
BaselineName = Literal["blind", "wrong_instruction"]
BASELINE_NAMES: tuple[BaselineName, ...] = ("blind", "wrong_instruction")


@dataclass(frozen=True)
class Rate:
    """A success rate in [0, 1] with what is known of its certainty."""

    success: float
    episodes: int | None = None
    ci95: tuple[float, float] | None = None

    @property
    def successes(self) -> int | None:
        """The whole number of successes, where the rate times the episodes is one."""
        if self.episodes is None:
            return None
        count = self.success * self.episodes
        return round(count) if abs(count - round(count)) < 1e-6 else None


@dataclass(frozen=True)
class TaskResult:
    """The policy on one task beside its baselines."""

    name: str
    policy: Rate
    blind: Rate | None
    wrong_instruction: Rate | None
    instruction: str | None = None
    counted: bool = True
    """Whether the mean counts this task."""
    solved_at_once: int = 0
    """How many episodes were solved by the first step; 0, too, where the file does not say so."""
    figures: Mapping[str, Measured] = field(default_factory=dict)
    """What the simulator measured beside the score, by name."""

    def baseline(self, name: BaselineName) -> Rate | None:
        """Return the rate of a baseline; None where it was not measured."""
        return self.blind if name == "blind" else self.wrong_instruction


@dataclass(frozen=True)
class Stage:
    """One stage of the run and what it cost."""

    name: str
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The facts of a results.json, whatever its score."""

    cpu_seconds: float | None
    wall_seconds: float | None
    stages: tuple[Stage, ...]
    seed: int | None
    versions: dict[str, str]
    machine: dict[str, str]
    command: str | None
    date: str | None
    title: str | None
    summary: str | None
    simulator: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the simulator, by name."""


@dataclass(frozen=True, kw_only=True)
class Results(Evaluation):
    """The contents of a results.json of success rates."""

    tasks: tuple[TaskResult, ...]
    mean: TaskResult
    remarks: tuple[str, ...] = ()
    """What a reader of the rates should know beside them, in sentences."""

    @cached_property
    def labels(self) -> dict[str, str]:
        """The page's label of each task."""
        return task_labels([task.name for task in self.tasks])

    @property
    def baselines(self) -> list[BaselineName]:
        """The baselines that were measured on any task."""
        return [name for name in BASELINE_NAMES if any(task.baseline(name) for task in (*self.tasks, self.mean))]


@dataclass(frozen=True)
class Curve:
    """Figures of one run, phase and split ("train" or "validation"): points of (train_step, value) under each name."""

    run: str
    phase: str
    split: str
    figures: dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Clip:
    """One rollout video.

    The `path` may be absent on disk; `total_reward` is None where success is the score, and `plans` where the policy
    told none.
    """

    task: str
    success: bool
    path: Path
    kind: str
    instruction: str | None
    seed: int | None
    steps: int | None
    total_reward: float | None = None
    plans: PlanFigures | None = None
    is_wide: bool = False
    """Whether it shows several pictures side by side, and needs the room."""


def read_results(run_dir: Path) -> Results:
    """Read and check RUN_DIR/results.json. Raises what `read_results_file` raises."""
    return read_results_file(run_dir / "results.json")


def read_results_file(path: Path) -> Results:
    """Read and check a results.json, and the .timing.json beside it where there is one.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    data = results_data(path)
    if is_by_return(data):
        raise data.error("score", "is the return, but success rates are needed here; give an evaluation that has them")
    mean_data = data.optional("mean")
    named = None if mean_data is None else mean_data.get("tasks", list)
    tasks_data = data.child("tasks")
    for name in named or ():
        if not isinstance(name, str) or name not in tasks_data.value:
            raise data.error("mean.tasks", f"names {shown(name)}, which is not among the tasks")
    counted = set(named or tasks_data.value)
    tasks = tuple(_task(tasks_data.child(name), name, name in counted) for name in tasks_data.value)
    mean = plain_mean(tasks) if mean_data is None else _task(mean_data, "mean")
    return Results(tasks=tasks, mean=mean, **facts_of(data))


def results_data(path: Path) -> Reader:
    """Return what a results.json holds, with the .timing.json beside it where there is one.

    Raises:
        ValueError: if it does not exist, is not readable, or is about no task.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; pass the folder of `tempovla demo`, of an evaluation in a simulator (`tempovla "
            "eval metaworld`, libero or memory with --json FOLDER/results.json), or of a training run"
        )
    timing = path.with_suffix(".timing.json")  # what two runs of the same seeds do not share
    data = Reader(path, "", load_json(path) | (load_json(timing) if timing.is_file() else {}))
    if not data.child("tasks").value:
        raise data.error("tasks", "is empty; evaluate at least one task")
    return data


def is_by_return(data: Reader) -> bool:
    """Return whether the score of a results.json is the return."""
    score = data.get("score", str) or "success"
    if score not in ("success", "return"):
        raise data.error("score", f"is {shown(score)}; it must be success or return")
    return score == "return"


def facts_of(data: Reader) -> dict[str, Any]:
    """Return the fields of an `Evaluation`."""
    stages = data.get("stages", list) or []
    return {
        "cpu_seconds": data.seconds("cpu_seconds"),
        "wall_seconds": data.seconds("wall_seconds"),
        "stages": tuple(_stage(Reader(data.path, f"stages[{i}]", stage)) for i, stage in enumerate(stages)),
        "seed": data.get("seed", int),
        "versions": data.texts("versions"),
        "machine": data.texts("machine"),
        "command": data.get("command", str),
        "date": data.get("date", str),
        "title": data.get("title", str),
        "summary": data.get("summary", str),
        "simulator": data.get("simulator", dict) or {},
    }


def read_curves(run_dir: Path, more: Sequence[Path] = ()) -> list[Curve]:
    """Read every metrics.jsonl below the run, and below more folders, whose names become the first part of run names.

    The folder of a file, without the phase at its end, names the run. A last line without its newline, which a killed
    run leaves, is dropped.

    Raises:
        ValueError: naming the file and the line, or a folder of `more` without any.
    """
    curves: dict[tuple[str, str, str], Curve] = {}
    seen: set[Path] = set()
    for root in (run_dir, *more):
        found = sorted(root.rglob("metrics.jsonl"))
        if root is not run_dir and not found:
            raise ValueError(f"--curves {root} holds no metrics.jsonl; give the folder of a training run")
        taken = {curve.run.split("/")[0] for curve in curves.values()}
        name = root.resolve().name
        prefix = () if root is run_dir else (str(root) if name in taken else name,)
        for path in (path for path in found if path.resolve() not in seen):
            seen.add(path.resolve())
            _add_curves(curves, path, (*prefix, *path.parent.relative_to(root).parts))
    return list(curves.values())


def _add_curves(curves: dict[tuple[str, str, str], Curve], path: Path, folders: tuple[str, ...]) -> None:
    """Add the figures of a metrics.jsonl whose run lies in these folders."""
    for line in _metric_lines(path):
        phase, step = line.get("phase", str, required=True), line.get("train_step", int, required=True)
        run = "/".join(folders[:-1] if folders[-1:] == (phase,) else folders) or "training"
        for name in (key for key in line.value if key not in NOT_DRAWN):
            split = "validation" if name.startswith(VALIDATION_PREFIX) else "train"
            figures = curves.setdefault((run, phase, split), Curve(run, phase, split, {})).figures
            figures.setdefault(name.removeprefix(VALIDATION_PREFIX), []).append((step, line.number(name)))


def read_clips(run_dir: Path) -> list[Clip]:
    """Read RUN_DIR/rollouts/index.json; an absent file is an empty list.

    Raises:
        ValueError: naming the file, the entry and the remedy.
    """
    path = run_dir / "rollouts" / "index.json"
    if not path.is_file():
        return []
    inside(run_dir, "rollouts/index.json", said_by="the run's", remedy="copy the folder again")
    entries = load_json(path, list)
    return [_clip(Reader(path, f"[{i}]", entry), path.parent) for i, entry in enumerate(entries)]


def _task(data: Reader, name: str, counted: bool = True) -> TaskResult:
    policy = read_rate(data, "success", "episodes", "ci95")
    if policy is None:
        raise data.error("success", "is missing; write it as a fraction between 0 and 1")
    if policy.episodes is None and name != "mean":
        raise data.error("episodes", "is missing; a rate without its number of episodes says nothing")
    at_once, successes = data.get("solved_at_once", int) or 0, policy.successes
    if at_once < 0 or (successes is not None and at_once > successes):
        raise data.error("solved_at_once", f"is {at_once}; it must be a number of episodes among the successes")
    return TaskResult(
        name=name,
        policy=policy,
        blind=read_rate(data, "blind", "blind_episodes", "blind_ci95"),
        wrong_instruction=read_rate(data, "wrong_instruction", "wrong_instruction_episodes", "wrong_instruction_ci95"),
        instruction=data.get("instruction", str),
        counted=counted,
        solved_at_once=at_once,
        figures=read_measured(data),
    )


def plain_mean(tasks: tuple[TaskResult, ...]) -> TaskResult:
    """Return the mean over all tasks; it has no interval, as the file gives none."""

    def mean(rates: list[Rate | None]) -> Rate | None:
        known = [rate for rate in rates if rate is not None]
        if len(known) < len(rates):
            return None
        counts = [rate.episodes for rate in known if rate.episodes is not None]
        episodes = sum(counts) if len(counts) == len(known) else None
        return Rate(sum(rate.success for rate in known) / len(known), episodes)

    policy = mean([task.policy for task in tasks])
    assert policy is not None, "every task has a policy rate"
    blind, wrong = mean([task.blind for task in tasks]), mean([task.wrong_instruction for task in tasks])
    return TaskResult("mean", policy, blind, wrong)


def _stage(data: Reader) -> Stage:
    cpu_seconds, wall_seconds = (data.seconds(key, required=True) for key in ("cpu_seconds", "wall_seconds"))
    return Stage(data.get("name", str, required=True), cpu_seconds, wall_seconds)


def _clip(data: Reader, folder: Path) -> Clip:
    kind = data.get("kind", str) or "policy"
    if kind not in CLIP_KINDS:
        raise data.error("kind", f"is {shown(kind)}; choose from {', '.join(CLIP_KINDS)}")
    return Clip(
        task=data.get("task", str, required=True),
        success=data.get("success", bool, required=True),
        path=inside(
            folder,
            data.get("file", str, required=True),
            said_by=f"index.json: {data.key}.file",
            remedy="name a video in the folder of index.json",
        ),
        kind=kind,
        instruction=data.get("instruction", str),
        seed=data.get("seed", int),
        steps=data.get("steps", int),
        total_reward=data.number("return") if "return" in data.value else None,
        plans=read_plan_figures(data),
        is_wide=data.get("wide", bool) or False,
    )


def _metric_lines(path: Path) -> Iterator[Reader]:
    lines = read_log(path, remedy="delete the line")  # the last may be half-written
    yield from (Reader(path, f"line {number}", line) for number, (_, line) in enumerate(lines, start=1))


def read_rate(data: Reader, key: str, episodes_key: str, ci95_key: str) -> Rate | None:
    """Return the rate under `key`, or None where there is none."""
    success = data.value.get(key)
    if success is None:
        return None
    if not _is_fraction(success):
        raise data.error(key, f"is {success!r}; it must be a fraction between 0 and 1")
    episodes = data.value.get(episodes_key)
    if episodes is not None and (type(episodes) is not int or episodes < 1):
        raise data.error(episodes_key, f"is {episodes!r}; it must be a whole number of at least 1")
    ci95 = data.value.get(ci95_key)
    if ci95 is None:
        return Rate(success, episodes)
    if not (isinstance(ci95, list) and len(ci95) == 2 and all(map(_is_fraction, ci95)) and ci95[0] <= ci95[1]):
        raise data.error(ci95_key, f"is {ci95!r}; it must be [low, high], fractions between 0 and 1")
    return Rate(success, episodes, (ci95[0], ci95[1]))


def _is_fraction(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1
