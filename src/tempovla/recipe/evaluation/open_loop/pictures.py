"""Bird's eye views of predicted and recorded trajectories over the LiDAR's points and the other agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tempovla.recipe.evaluation.open_loop.events import EVENTS, events_of
from tempovla.recipe.evaluation.open_loop.figures import Modes
from tempovla.recipe.evaluation.open_loop.measure import Around
from tempovla.recipe.evaluation.open_loop.recorded import Recorded
from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools, distances, poses_of
from tempovla.report.bird_view import BirdView, Frame
from tempovla.storage.json_files import write_json
from tempovla.storage.problems import problems_of
from tempovla.timeline import EpisodeSource
from tempovla.timeline.driving import LIDAR_KEY

INDEX = "bird_views.json"
"""Index of the pictures in their folder."""
OF_EACH_EVENT = 3
"""Moments of each event that are drawn: the best, a middling one and the worst."""


def draw_moments(
    source: EpisodeSource, recorded: Recorded, steps: Array, around: Around, modes: Modes | None, folder: Path
) -> int:
    """Draw the best, a middling and the worst trajectory of each event; returns the number of pictures.

    Args:
        source: of the LiDAR's points, where it has some.
        recorded: N moments.
        steps: (N, H, 3) what the policy would have done.
        around: what surrounded the car.
        modes: further trajectories; None if there are none.
        folder: for the pictures and their index.

    Raises:
        NotWrittenError: if the disk does not take them.
    """
    view, entries = BirdView(), []
    event = np.where(recorded.whole, events_of(recorded.steps, source.rate_hz), "")
    errors = distances(poses_of(steps), recorded.poses)[:, -1]
    with problems_of(folder, then="and repeat the command"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
        for name in EVENTS:
            for row in chosen_rows(np.flatnonzero(event == name), errors):
                surface = None
                if around.drivable_at is not None:
                    surface = around.drivable_at(int(recorded.scene[row]), int(recorded.step[row]), view.places())
                frame = _frame(source, recorded, steps, around, modes, row, surface)
                scene, step = int(recorded.scene[row]), int(recorded.step[row])
                file = f"episode_{scene:04d}_step_{step:03d}.png"
                Image.fromarray(view.draw(frame)).save(folder / file)
                facts = {"scene": scene, "step": step, "event": name, "final_error_m": float(errors[row])}
                entries.append({"file": file, **facts})
    write_json(folder / INDEX, entries)
    return len(entries)


def chosen_rows(rows: NDArray[np.int64], errors: Array) -> list[int]:
    """Return the rows of the smallest, the median and the largest error, each once.

    Args:
        rows: those of one event.
        errors: (N,) of all rows.
    """
    ordered = rows[np.argsort(errors[rows], kind="stable")].tolist()
    if len(ordered) <= OF_EACH_EVENT:
        return ordered
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _frame(
    source: EpisodeSource,
    recorded: Recorded,
    steps: Array,
    around: Around,
    modes: Modes | None,
    row: int,
    surface: Bools | None,
) -> Frame:
    scene, step = int(recorded.scene[row]), int(recorded.step[row])
    origin = np.zeros((1, 2))
    paths: list[tuple[str, Any]] = []
    for other in modes.poses[row] if modes is not None else ():
        paths.append(("mode", np.concatenate([origin, other[:, :2]])))
    paths.append(("true", np.concatenate([origin, recorded.poses[row, :, :2]])))
    paths.append(("predicted", np.concatenate([origin, poses_of(steps[row])[:, :2]])))
    points = None
    if LIDAR_KEY in source.streams:
        reading = source.read(scene, LIDAR_KEY, (step,))
        points = reading.value[0] if reading.valid[0] else None
    return Frame(
        points=points,
        boxes=None if around.boxes_at is None else around.boxes_at(scene, step),
        ego=around.footprint.rectangles(np.zeros(3)),
        surface=surface,
        paths=paths,
        words=recorded.words[row],
    )
