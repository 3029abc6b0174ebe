"""Stages of a long command with their costs, so that an interrupted run continues where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempovla.storage.json_files import read_json, write_json
from tempovla.timeline.config import config_from_json
from tempovla.training.result import cpu_seconds

LOGGER = logging.getLogger(__name__)


_REMEDY = "remove the file, and the stages run again"


@dataclass(frozen=True)
class _Stage:
    """What the file says of a stage."""

    cpu_seconds: float
    wall_seconds: float
    done: bool
    running: bool
    killed: bool


def _read(path: Path) -> dict[str, dict[str, Any]]:
    stages = read_json(path, remedy=_REMEDY)
    try:
        return {name: dataclasses.asdict(config_from_json(_Stage, entry, name)) for name, entry in stages.items()}
    except ValueError as problem:
        raise ValueError(f"{path}: {str(problem).split('; ')[0]}; {_REMEDY}") from None


class StageLog:
    """Times stages and keeps the figures in a file, so that they add up over interruptions.

    Args:
        path: JSON file of stages: name to cpu_seconds, wall_seconds, done, running and killed. What a stage had spent
            when its process was killed cannot be known: it is not in the figures, and `killed` says so.

    Raises:
        ValueError: if the file is there and holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, dict[str, Any]] = _read(path) if path.exists() else {}
        for stage in self.stages.values():
            stage["killed"] |= stage["running"]
        self._started_s = time.monotonic()
        self._spent = {"cpu_seconds": 0.0, "wall_seconds": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run one stage; its costs are added to those of earlier, interrupted tries."""
        LOGGER.info("%s ...", name)
        cpu_s, wall_s, done = cpu_seconds(), time.monotonic(), False
        self._add(name, {"cpu_seconds": 0.0, "wall_seconds": 0.0}, done=False, running=True)
        try:
            yield
            done = True
        finally:
            spent = {"cpu_seconds": cpu_seconds() - cpu_s, "wall_seconds": time.monotonic() - wall_s}
            self._add(name, spent, done)
        LOGGER.info("%s: %.0f s wall, %.0f s CPU", name, spent["wall_seconds"], spent["cpu_seconds"])

    def add_rest(self, name: str) -> None:
        """Add this process's time outside its stages, imports included, under a name of its own."""
        used = {"cpu_seconds": cpu_seconds(), "wall_seconds": time.monotonic() - self._started_s}
        self._add(name, {key: value - self._spent[key] for key, value in used.items()}, done=True)

    def _add(self, name: str, spent: dict[str, float], done: bool, running: bool = False) -> None:
        before = self.stages.get(name, dict.fromkeys(spent, 0.0) | {"killed": False})
        costs = {key: before[key] + value for key, value in spent.items()}
        self.stages[name] = costs | {"done": done, "running": running, "killed": before["killed"]}
        self._spent = {key: self._spent[key] + value for key, value in spent.items()}
        self._save()

    def is_done(self, name: str) -> bool:
        """Return whether the stage ended well, now or in an earlier session."""
        return bool(self.stages.get(name, {}).get("done"))

    def as_list(self) -> list[dict[str, Any]]:
        """Return stages in order, for results.json."""
        return [
            {"name": name}
            | {key: round(stage[key], 2) for key in ("cpu_seconds", "wall_seconds")}
            | ({"killed": True} if stage["killed"] else {})
            for name, stage in self.stages.items()
        ]

    def total(self, key: str) -> float:
        """Return the sum over all stages."""
        return round(sum(stage[key] for stage in self.stages.values()), 2)

    def _save(self) -> None:
        write_json(self.path, self.stages)
