"""Compare two evaluations on the episodes that both played."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tempovla.rollout.paired import SIGNIFICANCE, PairedOutcomes, PairedReturns, return_verdict, verdict
from tempovla.storage.json_files import read_json
from tempovla.storage.said_by import said_by
from tempovla.timeline.arguments import brief, path_argument
from tempovla.timeline.config import config_from_json

_REMEDY = "give a file that `tempovla eval` wrote with --json FILE for a simulator"
_MUST_AGREE = ("name", "suite")

EpisodeKey = tuple[str, int | None, int]


@dataclass(frozen=True)
class _Solved:
    """What a results.json says of an episode that tells it from others, and how it ended."""

    task: str
    init_state: int | None
    seed: int
    success: bool

    @property
    def outcome(self) -> bool:
        """How it ended."""
        return self.success


@dataclass(frozen=True)
class _Rewarded:
    """The same of an episode that is scored by its return."""

    task: str
    init_state: int | None
    seed: int
    total_reward: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.total_reward):
            raise ValueError(f"total_reward is {self.total_reward}; it must be finite")

    @property
    def outcome(self) -> float:
        """How it ended."""
        return self.total_reward


def compare_evaluations(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Pair the episodes of two results.json files by task, initial state and seed.

    Returns:
        `all` and, by name, `tasks`: rates of `a` and `b`, their `difference` (b less a) with `ci95`, McNemar's exact
        `p_value`, and the counts of the pairs; `verdict` in words; `remarks`, what else differs; `episodes` paired, and
        of how many in each file. Where the evaluations are scored by the return, `score` is "return", `a` and `b` are
        mean returns, and `p_value` and `ci95` are those of a sign-flip permutation test, which is `exact` for few
        pairs; `ci95` is None for less than six. `figures` compares in the same way what the simulator measured of the
        episodes in both files, by name; it is left out where it measured nothing.

    Raises:
        ValueError: if a file is no evaluation, or they are of different suites or scores, or no episode is in both.
    """
    results = [_read(path_argument("evaluation", path, "a results.json")) for path in (first, second)]
    simulators = [result.get("simulator", {}) for result in results]
    for name in _MUST_AGREE:
        one, other = (simulator.get(name) for simulator in simulators)
        if one != other:
            raise ValueError(f"{first} is of {one}, {second} of {other}: no episodes to compare; give two of one suite")
    scores = [_score(result) for result in results]
    if scores[0] != scores[1]:
        raise ValueError(
            f"{first} is scored by the {scores[0]}, but {second} by the {scores[1]}; give two of the same score"
        )
    played = [_played(result, path) for result, path in zip(results, (first, second), strict=True)]
    shared = [key for key in played[0] if key in played[1]]
    if not shared:
        raise ValueError(
            f"{first} and {second} share no episode (task, initial state and seed); evaluate both with the same seed"
        )
    by_task: dict[str, list[tuple[Any, Any]]] = {}
    for key in shared:
        by_task.setdefault(key[0], []).append((played[0][key], played[1][key]))
    remarks = _remarks(results, simulators, len(shared), [len(one) for one in played])
    is_return = scores[0] == "return"
    return {
        "a": str(first),
        "b": str(second),
        **(_compared_returns(by_task) if is_return else _compared_successes(by_task)),
        **_compared_figures([_measured(result, path) for result, path in zip(results, (first, second), strict=True)]),
        "episodes": {"paired": len(shared), "a": len(played[0]), "b": len(played[1])},
        "remarks": remarks + (_too_few(by_task) if is_return else []),
    }


def compare_figures(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Return what `compare_evaluations` says of the figures alone, which may be of unlike settings or scores.

    Returns:
        `figures` by name; nothing where the evaluations share no episode or no figure, or do not list their episodes.

    Raises:
        ValueError: if a file is damaged.
    """
    paths = [path_argument("evaluation", path, "a results.json") for path in (first, second)]
    results = [read_json(path, remedy=_REMEDY) for path in paths]
    if not all(map(_has_figures, results)):
        return {}
    measured = []
    for path in paths:
        result = _read(path)
        _played(result, path)
        measured.append(_measured(result, path))
    return _compared_figures(measured) if measured[0].keys() & measured[1].keys() else {}


def _has_figures(result: Mapping[str, Any]) -> bool:
    """Whether results list episodes, of which something was measured beside the score."""
    episodes = result.get("episodes")
    return isinstance(episodes, list) and any(isinstance(each, dict) and each.get("figures") for each in episodes)


def _score(result: Mapping[str, Any]) -> str:
    return result.get("score", "success")


def _read(path: Path) -> dict[str, Any]:
    result = read_json(path, remedy=_REMEDY)
    if not isinstance(result.get("episodes"), list) or not isinstance(result.get("simulator", {}), dict):
        raise ValueError(f"{path}: holds no list of episodes; {_REMEDY}")
    if _score(result) not in ("success", "return"):
        raise ValueError(f"{path}: score is {result['score']!r}; it must be success or return; {_REMEDY}")
    return result


def _played(result: Mapping[str, Any], path: str | Path) -> dict[EpisodeKey, bool | float]:
    """How each episode ended."""
    kind: type[_Solved] | type[_Rewarded] = _Rewarded if _score(result) == "return" else _Solved
    names = [field.name for field in fields(kind)]
    found: dict[EpisodeKey, bool | float] = {}
    for index, episode in enumerate(result["episodes"]):
        with said_by(f"{path}: episodes[{index}]", remedy=_REMEDY):
            played = config_from_json(kind, {name: episode.get(name) for name in names}, "episode")
        key = (played.task, played.init_state, played.seed)
        if key in found:
            raise ValueError(f"{path}: episodes[{index}] is there twice; {_REMEDY}")
        found[key] = played.outcome
    return found


def _compared_successes(by_task: Mapping[str, Sequence[tuple[bool, bool]]]) -> dict[str, Any]:
    everything = PairedOutcomes.of([pair for pairs in by_task.values() for pair in pairs])
    return {
        "verdict": verdict(everything),
        "all": _success_block(everything),
        "tasks": {task: _success_block(PairedOutcomes.of(pairs)) for task, pairs in by_task.items()},
    }


def _success_block(paired: PairedOutcomes) -> dict[str, Any]:
    return {
        "a": paired.first.rate,
        "b": paired.second.rate,
        "difference": paired.difference,
        "ci95": list(paired.interval),
        "p_value": paired.p_value,
        "pairs": paired.pairs,
        "both": paired.both,
        "only_a": paired.only_first,
        "only_b": paired.only_second,
        "neither": paired.neither,
    }


def _compared_returns(by_task: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    everything = PairedReturns.of(*by_task.values())
    return {
        "score": "return",
        "verdict": return_verdict(everything),
        "all": _return_block(everything),
        "tasks": {task: _return_block(PairedReturns.of(pairs)) for task, pairs in by_task.items()},
    }


def _return_block(paired: PairedReturns) -> dict[str, Any]:
    return {
        "a": paired.first,
        "b": paired.second,
        "difference": paired.difference,
        "ci95": None if paired.interval is None else list(paired.interval),
        "p_value": paired.p_value,
        "exact": paired.is_exact,
        "pairs": paired.pairs,
    }


def _measured(result: Mapping[str, Any], path: str | Path) -> dict[EpisodeKey, Mapping[str, float]]:
    """What the simulator measured of each episode, by name."""
    found: dict[EpisodeKey, Mapping[str, float]] = {}
    for index, episode in enumerate(result["episodes"]):
        figures = episode.get("figures", {})
        for name, value in figures.items() if isinstance(figures, dict) else [("", figures)]:
            if not name or isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(
                    f"{path}: episodes[{index}].figures{name and '.'}{name} is {brief(value)}; it must be "
                    f"{'a finite number' if name else 'an object'}; {_REMEDY}"
                )
        found[(episode["task"], episode.get("init_state"), episode["seed"])] = figures
    return found


def _compared_figures(measured: Sequence[Mapping[EpisodeKey, Mapping[str, float]]]) -> dict[str, Any]:
    """The paired differences of the figures that all shared episodes have."""
    first, second = measured
    shared = [key for key in first if key in second]
    names = [name for name in first[shared[0]] if all(name in each[key] for each in measured for key in shared)]
    tasks = dict.fromkeys(task for task, _, _ in shared)
    blocks = {}
    for name in names:
        pairs = [[(first[key][name], second[key][name]) for key in shared if key[0] == task] for task in tasks]
        blocks[name] = _return_block(PairedReturns.of(*pairs))
    return {"figures": blocks} if blocks else {}


def _too_few(by_task: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """Remarks where there are so few pairs that no difference of returns could be significant."""
    parts = {"": PairedReturns.of(*by_task.values())}
    if len(by_task) > 1:
        parts |= {f"{task}: ": PairedReturns.of(pairs) for task, pairs in by_task.items()}
    return [
        f"{name}only {paired.pairs} {'pair' if paired.pairs == 1 else 'pairs'}: the smallest p-value that could come "
        f"is {paired.smallest_p_value:.2g}, so no difference can be significant"
        for name, paired in parts.items()
        if paired.smallest_p_value >= SIGNIFICANCE
    ]


def _remarks(
    results: list[dict[str, Any]], simulators: list[dict[str, Any]], shared: int, counts: list[int]
) -> list[str]:
    """What a reader of the comparison should know: settings that differ, episodes left out."""
    settings = [
        simulator | {name: result.get(name) for name in ("execution_horizon", "temporal_ensemble")} | goal
        for simulator, result, goal in zip(simulators, results, _goals(results), strict=True)
    ]
    remarks = []
    for name in dict.fromkeys([*settings[0], *settings[1]]):
        one, other = (setting.get(name) for setting in settings)
        if one != other:
            remarks.append(f"{name} is {one} in A and {other} in B")
    chosen = [dict(_leaves(result.get("model") or {})) for result in results]
    for name in dict.fromkeys([*chosen[0], *chosen[1]]):
        one, other = (settings.get(name, "as trained") for settings in chosen)
        if one != other:
            remarks.append(f"model.{name} is {one} in A and {other} in B")
    if shared < max(counts):
        remarks.append(f"{shared} episodes are in both files, of {counts[0]} in A and {counts[1]} in B")
    return remarks


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _goals(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each evaluation planned towards, and how where both had a goal."""
    goals = [result.get("goal") or {} for result in results]
    shown: list[dict[str, Any]] = [
        {"goal": ":".join(str(goal.get(name)) for name in ("dataset", "episode", "step"))} if goal else {}
        for goal in goals
    ]
    if all(goals):
        shown = [
            each | {f"goal_{name}": goal.get(name) for name in ("by", "costs")}
            for each, goal in zip(shown, goals, strict=True)
        ]
    return shown
