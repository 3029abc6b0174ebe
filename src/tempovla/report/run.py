"""Reading a run directory: results, learning curves and rollout videos, checked before anything is drawn.

The layout is described in docs/systems/report.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from tempovla.report.labels import task_labels
from tempovla.storage.json_files import parse_json, read_log, read_text, shown
from tempovla.storage.paths import inside

T = TypeVar("T")

JSON_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_REMEDY = "run the evaluation again"
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

    def baseline(self, name: BaselineName) -> Rate | None:
        """A baseline's rate, where it was measured."""
        return self.blind if name == "blind" else self.wrong_instruction


@dataclass(frozen=True)
class Stage:
    """One stage of the run and what it cost."""

    name: str
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Results:
    """The contents of results.json."""

    tasks: tuple[TaskResult, ...]
    mean: TaskResult
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

    @cached_property
    def labels(self) -> dict[str, str]:
        """What the page calls each task."""
        return task_labels([task.name for task in self.tasks])

    @property
    def baselines(self) -> list[BaselineName]:
        """Those measured on any task."""
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
    """One rollout video; `path` may be absent on disk."""

    task: str
    success: bool
    path: Path
    kind: str
    instruction: str | None
    seed: int | None
    steps: int | None


def read_results(run_dir: Path) -> Results:
    """Read and check RUN_DIR/results.json. Raises what `read_results_file` raises."""
    return read_results_file(run_dir / "results.json")


def read_results_file(path: Path) -> Results:
    """Read and check a results.json, and the .timing.json beside it where there is one.

    Raises:
        ValueError: naming the file, the key and the remedy.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; pass the folder of `tempovla demo`, or of an evaluation in a simulator "
            "(`tempovla eval metaworld`, libero or memory with --json FOLDER/results.json)"
        )
    timing = path.with_suffix(".timing.json")  # what two runs of the same seeds do not share
    data = _Reader(path, "", _load(path) | (_load(timing) if timing.is_file() else {}))
    tasks_data = data.child("tasks")
    if not tasks_data.value:
        raise data.error("tasks", "is empty; evaluate at least one task")
    mean_data = data.optional("mean")
    counted = set(tasks_data.value) if mean_data is None else set(mean_data.get("tasks", list) or tasks_data.value)
    if unknown := counted - set(tasks_data.value):
        raise data.error("mean.tasks", f"names {sorted(unknown)[0]!r}, which is not among the tasks")
    tasks = tuple(_task(tasks_data.child(name), name, name in counted) for name in tasks_data.value)
    stages = data.get("stages", list) or []
    return Results(
        tasks=tasks,
        mean=plain_mean(tasks) if mean_data is None else _task(mean_data, "mean"),
        cpu_seconds=data.seconds("cpu_seconds"),
        wall_seconds=data.seconds("wall_seconds"),
        stages=tuple(_stage(_Reader(path, f"stages[{i}]", stage)) for i, stage in enumerate(stages)),
        seed=data.get("seed", int),
        versions=data.texts("versions"),
        machine=data.texts("machine"),
        command=data.get("command", str),
        date=data.get("date", str),
        title=data.get("title", str),
        summary=data.get("summary", str),
    )


def read_curves(run_dir: Path, more: Sequence[Path] = ()) -> list[Curve]:
    """Read every metrics.jsonl below the run, and below more folders, whose names then begin those of their runs.

    Its folder, without the phase at the end, names the run. A last line without its newline is what a killed run
    leaves, and is dropped.

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
    entries = _load(path, list)
    return [_clip(_Reader(path, f"[{i}]", entry), path.parent) for i, entry in enumerate(entries)]


def _task(data: _Reader, name: str, counted: bool = True) -> TaskResult:
    policy = data.rate("success", "episodes", "ci95")
    if policy is None:
        raise data.error("success", "is missing; write it as a fraction between 0 and 1")
    if policy.episodes is None and name != "mean":
        raise data.error("episodes", "is missing; a rate without its number of episodes says nothing")
    return TaskResult(
        name=name,
        policy=policy,
        blind=data.rate("blind", "blind_episodes", "blind_ci95"),
        wrong_instruction=data.rate("wrong_instruction", "wrong_instruction_episodes", "wrong_instruction_ci95"),
        instruction=data.get("instruction", str),
        counted=counted,
    )


def plain_mean(tasks: tuple[TaskResult, ...]) -> TaskResult:
    """The mean over all tasks; it has no interval, as the file gives none."""

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


def _stage(data: _Reader) -> Stage:
    cpu_seconds, wall_seconds = (data.seconds(key, required=True) for key in ("cpu_seconds", "wall_seconds"))
    return Stage(data.get("name", str, required=True), cpu_seconds, wall_seconds)


def _clip(data: _Reader, folder: Path) -> Clip:
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
    )


def _metric_lines(path: Path) -> Iterator[_Reader]:
    lines = read_log(path, remedy="delete the line")  # the last may be half-written
    yield from (_Reader(path, f"line {number}", line) for number, (_, line) in enumerate(lines, start=1))


def _load(path: Path, kind: type = dict) -> Any:
    text = read_text(path, remedy=_REMEDY)
    value = parse_json(text, f"{path}:", remedy=_REMEDY)
    if not isinstance(value, kind):
        raise ValueError(f"{path} is not {JSON_KINDS[kind]}; write it as docs/systems/report.md describes")
    return value


class _Reader:
    """A JSON object that knows its file and where in it it lies, for errors that name both."""

    def __init__(self, path: Path, key: str, value: Any):
        self.path, self.key, self.value = path, key, value
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {key} is {shown(value)}; it must be an object")

    def error(self, key: str, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {self._name(key)} {problem}")

    def optional(self, key: str) -> _Reader | None:
        return None if key not in self.value else self.child(key)

    def child(self, key: str) -> _Reader:
        if key not in self.value:
            raise self.error(key, "is missing; run the evaluation again or add it")
        return _Reader(self.path, self._name(key), self.value[key])

    @overload
    def get(self, key: str, kind: type[T], required: Literal[True]) -> T: ...
    @overload
    def get(self, key: str, kind: type[T]) -> T | None: ...
    def get(self, key: str, kind: type[T], required: bool = False) -> T | None:
        """The value under `key`, which must be of this kind; None where there is none and none is required."""
        value = self.value.get(key)
        if value is None and not required:
            return None
        if type(value) is not kind:
            raise self.error(key, f"is {shown(value)}; it must be {JSON_KINDS[kind]}")
        return value

    def number(self, key: str) -> float:
        value = self.value.get(key)
        if not _is_number(value):
            raise self.error(key, f"is {shown(value)}; it must be a finite number")
        return value

    @overload
    def seconds(self, key: str, required: Literal[True]) -> float: ...
    @overload
    def seconds(self, key: str) -> float | None: ...
    def seconds(self, key: str, required: bool = False) -> float | None:
        value = self.value.get(key)
        if value is None and not required:
            return None
        if not (_is_number(value) and value >= 0):
            raise self.error(key, f"is {shown(value)}; it must be a number of seconds, at least 0")
        return value

    def texts(self, key: str) -> dict[str, str]:
        data = self.optional(key)
        return {} if data is None else {str(name): str(text) for name, text in data.value.items()}

    def rate(self, key: str, episodes_key: str, ci95_key: str) -> Rate | None:
        """The rate under `key`, or None where there is none."""
        success = self.value.get(key)
        if success is None:
            return None
        if not _is_fraction(success):
            raise self.error(key, f"is {success!r}; it must be a fraction between 0 and 1")
        episodes = self.value.get(episodes_key)
        if episodes is not None and (type(episodes) is not int or episodes < 1):
            raise self.error(episodes_key, f"is {episodes!r}; it must be a whole number of at least 1")
        ci95 = self.value.get(ci95_key)
        if ci95 is None:
            return Rate(success, episodes)
        if not (isinstance(ci95, list) and len(ci95) == 2 and all(map(_is_fraction, ci95)) and ci95[0] <= ci95[1]):
            raise self.error(ci95_key, f"is {ci95!r}; it must be [low, high], fractions between 0 and 1")
        return Rate(success, episodes, (ci95[0], ci95[1]))

    def _name(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
