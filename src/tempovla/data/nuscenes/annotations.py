"""Records of what is annotated in key frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tempovla.data.nuscenes.layout import ATTRIBUTES, CATEGORIES, VISIBILITIES, Box
from tempovla.data.nuscenes.poses import yaw_quaternions
from tempovla.data.nuscenes.records import Record, chain, token


def check_box(box: Box, where: str) -> None:
    """Refuse a box that cannot be written.

    Raises:
        ValueError: naming what is wrong with it.
    """
    where = f"{where}: box of {box.instance!r}"
    if box.category not in CATEGORIES:
        raise ValueError(f"{where}: category={box.category!r} is none of nuScenes'; choose from layout.CATEGORIES")
    if box.attribute and box.attribute not in ATTRIBUTES:
        raise ValueError(f"{where}: attribute={box.attribute!r} is none of nuScenes'; choose from layout.ATTRIBUTES")
    if box.visibility not in VISIBILITIES:
        raise ValueError(f"{where}: visibility={box.visibility!r} must be 1 to {len(VISIBILITIES)}")
    numbers = np.concatenate([np.ravel(box.center), np.ravel(box.size), [box.yaw]]).astype(np.float64)
    if numbers.shape != (7,) or not np.isfinite(numbers).all() or np.min(box.size) <= 0:
        raise ValueError(f"{where}: center, size and yaw {numbers.tolist()} must be finite, and sizes positive")


def annotation_records(
    scene: str, samples: Sequence[Record], boxes: Sequence[Sequence[Box]]
) -> tuple[list[Record], list[Record]]:
    """Return the records of instances and of annotations.

    Args:
        scene: name of the scene.
        samples: records of the key frames.
        boxes: of each key frame.

    Raises:
        ValueError: if an object has two boxes in a key frame, or changes its category.
    """
    found: dict[str, list[Record]] = {}
    categories: dict[str, str] = {}
    for sample, here in zip(samples, boxes, strict=True):
        seen: set[str] = set()
        for box in here:
            where = f"{scene}: key frame at {sample['timestamp']} us"
            if box.instance in seen:
                raise ValueError(f"{where}: {box.instance!r} has two boxes; give each object its own name")
            if categories.setdefault(box.instance, box.category) != box.category:
                raise ValueError(f"{where}: {box.instance!r} was {categories[box.instance]} before; keep its category")
            seen.add(box.instance)
            found.setdefault(box.instance, []).append(_annotation(scene, sample, box))
    instances = []
    for name, records in found.items():
        chain(records)
        instances.append(
            {
                "token": token("instance", scene, name),
                "category_token": token("category", categories[name]),
                "nbr_annotations": len(records),
                "first_annotation_token": records[0]["token"],
                "last_annotation_token": records[-1]["token"],
            }
        )
    return instances, [record for records in found.values() for record in records]


def _annotation(scene: str, sample: Record, box: Box) -> Record:
    return {
        "token": token("sample_annotation", scene, box.instance, sample["timestamp"]),
        "sample_token": sample["token"],
        "instance_token": token("instance", scene, box.instance),
        "visibility_token": str(box.visibility),
        "attribute_tokens": [token("attribute", box.attribute)] if box.attribute else [],
        "translation": np.asarray(box.center, np.float64).tolist(),
        "size": np.asarray(box.size, np.float64).tolist(),
        "rotation": yaw_quaternions(box.yaw).tolist(),
        "num_lidar_pts": int(box.num_lidar_points),
        "num_radar_pts": int(box.num_radar_points),
    }
