"""Open-loop figures of trajectories with the uncertainty that their number of scenes leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.recipe.evaluation.open_loop.events import EVENTS, events_of
from tempovla.recipe.evaluation.open_loop.recorded import Recorded
from tempovla.recipe.evaluation.open_loop.trajectories import (
    CONVENTIONS,
    HORIZONS_S,
    Array,
    Bools,
    at_time,
    best_of,
    displacement_errors,
    distances,
)
from tempovla.rollout.metrics import RESAMPLES, Bootstrap

_RESAMPLING_SEED = 0
Figure = dict[str, Any]
"""`mean` and its 95% interval `ci95`; both None where nothing counts."""


@dataclass(frozen=True)
class Modes:
    """Several trajectories of each moment.

    Attributes:
        poses: (N, K, H, 3).
        probability: (N, K).
    """

    poses: Array
    probability: Array


class SceneMeans:
    """Means over samples, with bootstrap intervals over the scenes that they come from.

    Samples of one scene resemble each other, so scenes are resampled, and never single samples.

    Args:
        scene: (N,) number of each sample's scene.
    """

    def __init__(self, scene: NDArray[np.int64]) -> None:
        names, self._number = np.unique(scene, return_inverse=True)
        self.scenes = len(names)
        self._bootstrap = Bootstrap.draw(self.scenes, RESAMPLES, _RESAMPLING_SEED)

    def of(self, value: NDArray[Any], counted: Bools) -> Figure:
        """Return the mean of a value (N,) over the samples that count (N,)."""
        return self.ratio(np.where(counted, value, 0.0), counted)

    def ratio(self, part: NDArray[Any], whole: NDArray[Any]) -> Figure:
        """Return the sum of the parts (N,) over that of the wholes (N,), such as cells of the samples."""
        total = np.bincount(self._number, part, self.scenes)
        count = np.bincount(self._number, whole, self.scenes)
        if not count.sum():
            return {"mean": None, "ci95": None}
        counts = self._bootstrap.weights @ count
        means = (self._bootstrap.weights @ total)[counts > 0] / counts[counts > 0]
        certain = self._bootstrap.interval(means) if (count > 0).sum() > 1 else None
        return {"mean": float(total.sum() / count.sum()), "ci95": certain}


@dataclass(frozen=True)
class Judged:
    """A trajectory of each moment, and what it touched.

    Attributes:
        poses: (N, H, 3).
        collided: (N, H) whether it touches another agent; None where no agents are known.
        off_road: (N, H) whether it leaves the drivable surface; None where that is not known.
        learned: whether anything was learned for it.
        modes: what else is possible by the same policy.
    """

    poses: Array
    collided: Bools | None
    off_road: Bools | None
    learned: bool = False
    modes: Modes | None = None


def figures_of(rows: Mapping[str, Judged], recorded: Recorded, rate_hz: float) -> dict[str, Any]:
    """Return all figures of some trajectories.

    Args:
        rows: by name; the first is the recorded trajectory itself, whose own collisions are left out once.
        recorded: the moments.
        rate_hz: control rate [Hz].

    Returns:
        `scenes`, `samples`, `resamples`, `horizons_s`, `events`, the number of whole trajectories of each, and `rows`,
        by name the figures, each with `mean` and `ci95`: `l2` [m], `collision`, `collision_new` (without moments at
        which the recorded car itself collides), and `off_road`, by convention (`CONVENTIONS`) and time, and their mean
        over the times as `mean`; `ade` [m], `fde` [m] and `miss_rate` of whole trajectories; `modes` with the same of
        the best of the k most probable; and `by_event`.
    """
    means = SceneMeans(recorded.scene)
    whole = recorded.whole
    event = np.where(whole, events_of(recorded.steps, rate_hz), "")
    true = next(iter(rows.values()))
    return {
        "scenes": means.scenes,
        "samples": len(recorded.scene),
        "resamples": RESAMPLES,
        "horizons_s": _times(recorded, rate_hz),
        "events": {name: int((event == name).sum()) for name in EVENTS},
        "rows": {name: _row(row, true, recorded, rate_hz, means, event) for name, row in rows.items()},
    }


def _times(recorded: Recorded, rate_hz: float) -> list[float]:
    """The times that trajectories reach."""
    return [time_s for time_s in HORIZONS_S if round(time_s * rate_hz) <= recorded.steps.shape[1]]


def _row(
    row: Judged, true: Judged, recorded: Recorded, rate_hz: float, means: SceneMeans, event: NDArray[np.str_]
) -> dict[str, Any]:
    distance, whole = distances(row.poses, recorded.poses), recorded.whole
    mean, final, missed = displacement_errors(distance)
    figures: dict[str, Any] = {"learned": row.learned, "l2": _by_time(distance, recorded, rate_hz, means)}
    if row.collided is not None and true.collided is not None:
        figures["collision"] = _by_time(row.collided.astype(float), recorded, rate_hz, means)
        new = row.collided & ~true.collided
        figures["collision_new"] = _by_time(new.astype(float), recorded, rate_hz, means)
    if row.off_road is not None:
        figures["off_road"] = _by_time(row.off_road.astype(float), recorded, rate_hz, means)
    figures |= {"ade": means.of(mean, whole), "fde": means.of(final, whole), "miss_rate": means.of(missed, whole)}
    if row.modes is not None:
        figures["modes"] = _modes(row.modes, recorded, means, whole)
    figures["by_event"] = {
        name: {"ade": means.of(mean, event == name), "fde": means.of(final, event == name)}
        | ({} if row.collided is None else {"collision": means.of(np.asarray(row.collided.any(axis=1)), event == name)})
        for name in EVENTS
    }
    return figures


def _by_time(values: Array, recorded: Recorded, rate_hz: float, means: SceneMeans) -> dict[str, dict[str, Figure]]:
    """A figure (N, H) by convention and time, and the mean of all times, which papers call the average."""
    found: dict[str, dict[str, Figure]] = {}
    times = _times(recorded, rate_hz)
    for convention in CONVENTIONS:
        told = [at_time(values, recorded.known, round(time_s * rate_hz), convention) for time_s in times]
        found[convention] = {f"{t:g}": means.of(*each) for t, each in zip(times, told, strict=True)}
        if told:
            value = np.stack([each for each, _ in told]).mean(axis=0)
            known = np.asarray(np.all([each for _, each in told], axis=0))
            found[convention]["mean"] = means.of(value, known)
    return found


def _modes(modes: Modes, recorded: Recorded, means: SceneMeans, whole: Bools) -> dict[str, dict[str, Figure]]:
    """Errors of the best of the most probable one, and of all modes, by their number."""
    found = {}
    for k in sorted({1, modes.poses.shape[1]}):
        mean, final, missed = best_of(modes.poses, modes.probability, recorded.poses, k)
        errors = {"min_ade": mean, "min_fde": final, "miss_rate": missed}
        found[str(k)] = {name: means.of(value, whole) for name, value in errors.items()}
    return found
