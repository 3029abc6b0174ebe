"""Collectors by simulator, for simulators that need more than a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tempovla.env.registry import simulator_name
from tempovla.recipe.collection.collect import Collection, collect_dataset
from tempovla.timeline.lazy import Lazy, loaded


class Collector(Protocol):
    """Writes the demonstrations that a folder lacks, and returns the experts' results."""

    def __call__(self, folder: str | Path, collection: Collection, *, workers: int = 2) -> dict[str, Any]: ...  # noqa: D102


COLLECTORS: Mapping[str, Lazy[Callable[..., dict[str, Any]]]] = {
    "driving": "tempovla.recipe.collection.driving:collect_driving",
    "libero": "tempovla.recipe.collection.libero:collect_libero",
}
"""By the simulator's name."""

IN_SCENES: Mapping[str, str] = {"driving": "nuscenes"}
"""Simulators whose demonstrations are scenes, of all tasks in turn, by name, with the format of their files."""


def collect(folder: str | Path, collection: Collection, *, workers: int = 2) -> dict[str, Any]:
    """Write the demonstrations that the folder lacks.

    Returns:
        `root`, and `expert`, the experts' results, where the collector keeps them; else `episodes`, `frames`, `tasks`
        and `seed`.

    Raises:
        ValueError: for an unknown task, fewer than one worker, or if the folder holds something else or another process
            writes there.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    name = simulator_name(collection.env_config)
    if name in COLLECTORS:
        return {"root": str(folder), "expert": loaded(COLLECTORS[name])(folder, collection, workers=workers)}
    source = collect_dataset(folder, collection, workers=workers)
    frames = sum(source.episode(i).length for i in range(len(source)))
    figures = {"episodes": len(source), "frames": frames}
    return {"root": str(folder)} | figures | {"tasks": list(collection.tasks), "seed": collection.seed}
