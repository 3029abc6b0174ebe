"""Annotated road users as a stream of points, from which a policy may learn but which none sees when it acts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tempovla.data.nuscenes.around import Boxes
from tempovla.data.nuscenes.scenes import SceneTable
from tempovla.timeline.driving import BOX_NAMES, ROAD_USERS, RoadUser
from tempovla.timeline.points import pad_points

KINDS: dict[str, RoadUser] = {
    "vehicle.bicycle": "cycle",
    "vehicle.motorcycle": "cycle",
    "vehicle.": "vehicle",
    "human.": "pedestrian",
    "animal": "animal",
}
"""Kinds of road users by how nuScenes' categories begin, of which the first that fits counts; barriers, cones and the
like are none."""

_ROUND_BOXES = 8


def most_boxes(table: SceneTable) -> int:
    """Return the number of objects in the key frame that has most of them, rounded up; 0 if nothing is annotated."""
    samples = table.tables["sample_annotation"]["sample_token"]
    return -(-int(np.bincount(samples).max()) // _ROUND_BOXES) * _ROUND_BOXES if len(samples) else 0


def box_points(boxes: Boxes, count: int) -> NDArray[np.float32]:
    """Return the road users among annotated objects as points (count, F), named by `BOX_NAMES`.

    Args:
        boxes: in the ego frame of the control step.
        count: rows of the result; absent ones, behind the present ones, are NaN.
    """
    kinds = np.array([_kind(category) for category in boxes.category], dtype=np.float64)
    known = ~np.isnan(boxes.velocity[:, 0])
    columns = [
        boxes.center[:, :2],
        boxes.yaw[:, None],
        boxes.size[:, 1::-1],
        np.where(known[:, None], boxes.velocity, 0.0),
        known[:, None],
        kinds[:, None],
    ]
    points = np.concatenate(columns, axis=1) if len(boxes) else np.empty((0, len(BOX_NAMES)))
    return pad_points(points[np.isfinite(points).all(axis=1)], count)


def _kind(category: str) -> float:
    """Number of the kind of a road user; NaN for what is none."""
    kind = next((kind for begin, kind in KINDS.items() if category.startswith(begin)), None)
    return np.nan if kind is None else ROAD_USERS.index(kind)
