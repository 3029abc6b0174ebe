"""Results of runs for people and for the report: success rates and returns, versions, machine and command."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions, version
from typing import Any

from tempovla import __version__
from tempovla.rollout.metrics import MeanFigure, MeanReturn, SuccessRate


def versions(*more: str) -> dict[str, str]:
    """Return the package versions that are recorded with the results, those of `more` packages included."""
    packages = ("torch", "numpy", "mujoco", "metaworld", "hf-libero", "robosuite", "gymnasium", "av", "pyarrow", *more)
    found = {name: version(name) for name in packages if _is_installed(name)}
    return {"tempovla": __version__, "python": platform.python_version()} | found


def _is_installed(package: str) -> bool:
    return next(iter(distributions(name=package)), None) is not None


def machine() -> dict[str, str]:
    """Return a description of the machine."""
    cores = str(len(os.sched_getaffinity(0)))
    return {"system": platform.platform(), "architecture": platform.machine(), "cores": cores}


def command() -> str:
    """Return the command line that is running."""
    return shlex.join(["tempovla", *sys.argv[1:]])


def pool(rates: Sequence[SuccessRate]) -> SuccessRate:
    """Return all episodes of several tasks together; with equally many of each, the mean of the tasks."""
    return SuccessRate(sum(rate.successes for rate in rates), sum(rate.episodes for rate in rates))


def summarize(policy: SuccessRate, **baselines: SuccessRate) -> dict[str, Any]:
    """Return the block of one task in results.json: the policy, beside baselines by name (`blind`,
    `wrong_instruction`).
    """
    block: dict[str, Any] = {"success": policy.rate, "episodes": policy.episodes, "ci95": list(policy.interval)}
    for name, rate in baselines.items():
        block |= {name: rate.rate, f"{name}_episodes": rate.episodes, f"{name}_ci95": list(rate.interval)}
    return block


def summarize_return(returns: MeanReturn) -> dict[str, Any]:
    """Return the block of one task in results.json where the score is the return.

    `return_ci95` is null of a single episode.
    """
    interval = returns.interval
    return {
        "return": returns.mean,
        "episodes": returns.episodes,
        "return_ci95": None if interval is None else list(interval),
    }


def summarize_figures(figures: Mapping[str, MeanFigure]) -> dict[str, Any]:
    """Return `figures` of a block in results.json; nothing where the simulator measures none.

    `ci95` is null of tasks with a single episode.
    """
    if not figures:
        return {}
    blocks = {
        name: {"mean": figure.mean, "ci95": None if figure.interval is None else list(figure.interval)}
        for name, figure in figures.items()
    }
    return {"figures": blocks}
