"""Compare two evaluations on the episodes that both played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempovla.rollout.paired import PairedOutcomes, verdict
from tempovla.storage.json_files import read_json
from tempovla.storage.said_by import said_by
from tempovla.timeline.arguments import path_argument
from tempovla.timeline.config import config_from_json

_REMEDY = "give a file that `tempovla eval metaworld`, libero or memory wrote with --json FILE"
_MUST_AGREE = ("name", "suite")

EpisodeKey = tuple[str, int | None, int]


@dataclass(frozen=True)
class _Played:
    """What a results.json says of an episode that tells it from others, and how it ended."""

    task: str
    init_state: int | None
    seed: int
    success: bool


def compare_evaluations(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Pair the episodes of two results.json files by task, initial state and seed.

    Returns:
        `all` and, by name, `tasks`: rates of `a` and `b`, their `difference` (b less a) with `ci95`, McNemar's exact
        `p_value`, and the counts of the pairs; `verdict` in words; `remarks`, what else differs; `episodes` paired, and
        of how many in each file.

    Raises:
        ValueError: if a file is no evaluation, or they are of different suites, or no episode is in both.
    """
    results = [_read(path_argument("evaluation", path, "a results.json")) for path in (first, second)]
    simulators = [result.get("simulator", {}) for result in results]
    for name in _MUST_AGREE:
        one, other = (simulator.get(name) for simulator in simulators)
        if one != other:
            raise ValueError(f"{first} is of {one}, {second} of {other}: no episodes to compare; give two of one suite")
    outcomes = [_outcomes(result, path) for result, path in zip(results, (first, second), strict=True)]
    shared = [key for key in outcomes[0] if key in outcomes[1]]
    if not shared:
        raise ValueError(
            f"{first} and {second} share no episode (task, initial state and seed); evaluate both with the same seed"
        )
    pairs = {key: (outcomes[0][key], outcomes[1][key]) for key in shared}
    by_task = {
        task: PairedOutcomes.of([pair for key, pair in pairs.items() if key[0] == task])
        for task in dict.fromkeys(key[0] for key in shared)
    }
    everything = PairedOutcomes.of(list(pairs.values()))
    return {
        "a": str(first),
        "b": str(second),
        "verdict": verdict(everything),
        "all": _block(everything),
        "tasks": {task: _block(paired) for task, paired in by_task.items()},
        "episodes": {"paired": len(shared), "a": len(outcomes[0]), "b": len(outcomes[1])},
        "remarks": _remarks(results, simulators, len(shared), [len(outcome) for outcome in outcomes]),
    }


def _read(path: Path) -> dict[str, Any]:
    result = read_json(path, remedy=_REMEDY)
    if not isinstance(result.get("episodes"), list) or not isinstance(result.get("simulator", {}), dict):
        raise ValueError(f"{path}: holds no list of episodes; {_REMEDY}")
    if result.get("score", "success") != "success":
        raise ValueError(
            f"{path}: is scored by the {result['score']}, but successes are what is compared; compare the mean returns "
            "of the two files and their intervals"
        )
    return result


def _outcomes(result: Mapping[str, Any], path: str | Path) -> dict[EpisodeKey, bool]:
    outcomes: dict[EpisodeKey, bool] = {}
    for index, episode in enumerate(result["episodes"]):
        with said_by(f"{path}: episodes[{index}]", remedy=_REMEDY):
            known = {name: episode.get(name) for name in ("task", "init_state", "seed", "success")}
            played = config_from_json(_Played, known, "episode")
        key, success = (played.task, played.init_state, played.seed), played.success
        if key in outcomes:
            raise ValueError(f"{path}: episodes[{index}] is there twice; {_REMEDY}")
        outcomes[key] = success
    return outcomes


def _block(paired: PairedOutcomes) -> dict[str, Any]:
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


def _remarks(
    results: list[dict[str, Any]], simulators: list[dict[str, Any]], shared: int, counts: list[int]
) -> list[str]:
    """What a reader of the comparison should know: settings that differ, episodes left out."""
    settings = [
        simulator | {name: result.get(name) for name in ("execution_horizon", "temporal_ensemble")}
        for simulator, result in zip(simulators, results, strict=True)
    ]
    remarks = []
    for name in dict.fromkeys([*settings[0], *settings[1]]):
        one, other = (setting.get(name) for setting in settings)
        if one != other:
            remarks.append(f"{name} is {one} in A and {other} in B")
    if shared < max(counts):
        remarks.append(f"{shared} episodes are in both files, of {counts[0]} in A and {counts[1]} in B")
    return remarks
