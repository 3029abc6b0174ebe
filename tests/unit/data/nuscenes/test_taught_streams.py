"""Boxes and traffic lights as streams, from which policies learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import NAMES, Rates, write

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.around import Boxes
from tempovla.data.nuscenes.box_stream import box_points
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.timeline.driving import (
    BOX_NAMES,
    BOXES_KEY,
    HEADS_KEY,
    LIGHT_KEY,
    LIGHT_STATES,
    MOST_HEADS,
    ROAD_KEY,
    ROAD_SQUARES,
)

KEY_FRAMES = Rates(2.0, 2.0, 2.0)
LIGHTS = [
    {"state": "red", "distance_m": 39.5},
    {"state": "green", "distance_m": 40.5},
    {"state": "yellow", "distance_m": 0.2},
]


def boxes(*categories: str) -> Boxes:
    """Objects of these categories, 1 m, 2 m, ... ahead; the first one was annotated once."""
    count = len(categories)
    ahead = np.arange(1.0, count + 1)
    velocity = np.stack([ahead, -ahead], axis=1)
    velocity[:1] = np.nan
    none = np.zeros(count, np.int64)
    size = np.tile([1.9, 4.5, 1.6], (count, 1))
    center = np.stack([ahead, np.full(count, 0.5), np.zeros(count)], axis=1)
    return Boxes(center, size, 0.1 * ahead, velocity, categories, ("",) * count, none, none, ("4",) * count)


def add_lights(root: Path, scene: str, entries: object) -> None:
    (root / "can_bus" / f"{scene}_tempovla_next_light.json").write_text(json.dumps(entries))


def test_boxes_are_points_with_length_before_width():
    points = box_points(boxes("vehicle.truck", "human.pedestrian.adult"), 3)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[0], [1, 0.5, 0.1, 4.5, 1.9, 0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(points[1], [2, 0.5, 0.2, 4.5, 1.9, 2, -2, 1, 2], rtol=1e-6)
    assert np.isnan(points[2]).all()


def test_only_road_users_are_boxes_to_learn_from():
    found = box_points(
        boxes("movable_object.barrier", "vehicle.bicycle", "static_object.bicycle_rack", "animal", "vehicle.car"), 4
    )
    assert found[:3, 0].tolist() == [2.0, 4.0, 5.0]
    assert found[:3, -1].tolist() == [1.0, 3.0, 0.0]
    assert np.isnan(found[3]).all()
    assert np.isnan(box_points(boxes(), 2)).all()


def test_the_stream_holds_what_is_annotated_in_the_frame_of_each_step(jittered: NuScenesSource):
    info = jittered.streams[BOXES_KEY]
    assert (info.kind, info.shape, info.names) == ("points", (8, len(BOX_NAMES)), BOX_NAMES)
    value, valid = jittered.read(0, BOXES_KEY, range(-1, 6))
    assert valid.tolist() == [False, *[True] * 5, False]
    for step in range(5):
        known = jittered.boxes(0, step)
        present = value[step + 1][~np.isnan(value[step + 1]).any(axis=1)]
        assert len(present) == len(known) == (1 if step == 0 else 2)
        np.testing.assert_allclose(present[:, :2], known.center[:, :2], rtol=1e-6)
        np.testing.assert_allclose(present[:, 2], known.yaw, rtol=1e-5)
        np.testing.assert_allclose(present[:, 3:5], known.size[:, [1, 0]], rtol=1e-6)
    np.testing.assert_allclose(np.hypot(*value[3, 0, 5:7]), 3.0, rtol=1e-3)  # the car drives east at 3 m/s
    np.testing.assert_allclose(jittered.timestamps(0, BOXES_KEY), 0.5 * np.arange(5), atol=1e-6)


def test_the_road_is_where_the_map_is_drivable_in_the_frame_of_each_step(jittered: NuScenesSource):
    assert jittered.streams[ROAD_KEY].shape == (ROAD_SQUARES, 2)
    value, valid = jittered.read(0, ROAD_KEY, range(-1, 5))
    assert valid.tolist() == [False, *[True] * 5]
    area, poses = jittered.drivable(0), jittered.ego_poses(0)
    assert area is not None
    for step in range(5):
        found = value[step + 1][~np.isnan(value[step + 1, :, 0])].astype(np.float64)
        assert 0 < len(found) < ROAD_SQUARES
        places = np.column_stack([found, np.zeros(len(found))]) @ poses[step][:3, :3].T + poses[step][:3, 3]
        assert area.contains(places[:, :2]).all()
    assert len(jittered.timestamps(0, ROAD_KEY)) == 5
    assert jittered.read(0, ROAD_KEY, []).value.shape == (0, ROAD_SQUARES, 2)


def test_without_a_map_there_is_no_road(folder: Path, edit: Callable):
    edit("map", list.clear)
    assert ROAD_KEY not in open_nuscenes(folder).streams


def test_without_annotations_there_is_no_such_stream(folder: Path, edit: Callable):
    for table in ("sample_annotation", "instance"):
        edit(table, list.clear)
    assert BOXES_KEY not in open_nuscenes(folder).streams


def test_the_next_light_counts_within_its_range(folder: Path):
    add_lights(folder, NAMES[0], LIGHTS)
    source = open_nuscenes(folder)
    value, valid = source.read(0, LIGHT_KEY, range(-1, 4))
    assert valid.tolist() == [False, True, True, True, False]
    assert [LIGHT_STATES[int(number)] for number in value[1:4, 0]] == ["red", "none", "yellow"]
    add_lights(folder, NAMES[0], [None, *LIGHTS[1:]])
    assert open_nuscenes(folder).read(0, LIGHT_KEY, [0]).value.tolist() == [[0.0]]


def test_lights_that_nobody_noted_are_not_known(folder: Path, tmp_path: Path):
    assert LIGHT_KEY not in open_nuscenes(folder).streams
    root = write(tmp_path / "two", (3, 2), KEY_FRAMES)
    add_lights(root, NAMES[0], LIGHTS)
    source = open_nuscenes(root)
    assert source.read(0, LIGHT_KEY, range(3)).valid.all()
    assert not source.read(1, LIGHT_KEY, range(2)).valid.any()


def test_the_heads_of_a_light_are_in_the_frame_of_each_step(folder: Path):
    places = [[110.0, 105.0, 5.2], [120.0, 95.0, 3.0]]
    add_lights(folder, NAMES[0], [{**light, "heads": places} for light in LIGHTS])
    source = open_nuscenes(folder)
    assert source.streams[HEADS_KEY].shape == (MOST_HEADS, 3)
    value, valid = source.read(0, HEADS_KEY, range(-1, 4))
    assert valid.tolist() == [False, True, True, True, False]
    poses = source.ego_poses(0)
    for step in (0, 2):
        found = value[step + 1, :2] @ poses[step][:3, :3].T + poses[step][:3, 3]
        np.testing.assert_allclose(found, places, atol=1e-4)
        assert np.isnan(value[step + 1, 2:]).all()
    assert np.isnan(value[2]).all()  # that light is too far away to count


def test_where_no_light_is_all_heads_are_known_and_where_one_lacks_its_places_none(tmp_path: Path):
    root = write(tmp_path / "two", (3, 2), KEY_FRAMES)
    add_lights(root, NAMES[0], [{**light, "heads": [[110.0, 105.0, 5.2]]} for light in LIGHTS])
    add_lights(root, NAMES[1], [None, None])
    value, valid = open_nuscenes(root).read(1, HEADS_KEY, range(2))
    assert valid.all()
    assert np.isnan(value).all()
    add_lights(root, NAMES[1], [None, LIGHTS[0]])
    assert not open_nuscenes(root).read(1, HEADS_KEY, range(2)).valid.any()


def test_without_places_of_heads_there_is_no_such_stream(folder: Path):
    add_lights(folder, NAMES[0], LIGHTS)
    source = open_nuscenes(folder)
    assert LIGHT_KEY in source.streams
    assert HEADS_KEY not in source.streams


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (LIGHTS[:2], "has 2 entries, but the scene has 3 key frames"),
        ([*LIGHTS[:2], {"state": "blue", "distance_m": 1.0}], r"next_light.json: holds .*blue.*none, red, yellow"),
        ([*LIGHTS[:2], {"state": "red"}], "with a distance_m"),
        ([*LIGHTS[:2], {"state": "red", "distance_m": 10**400}], "with a distance_m"),
        ([*LIGHTS[:2], "red"], "and not a state"),
        ([*LIGHTS[:2], {**LIGHTS[2], "heads": [[1.0, 2.0]]}], "and not heads, a list of places"),
        ([*LIGHTS[:2], {**LIGHTS[2], "heads": [[1.0, 2.0, float("inf")]]}], "and not heads, a list of places"),
        ([*LIGHTS[:2], {**LIGHTS[2], "heads": 7}], "and not heads, a list of places"),
    ],
)
def test_damaged_notes_of_lights_are_refused(folder: Path, entries: object, message: str):
    add_lights(folder, NAMES[0], entries)
    with pytest.raises(DatasetError, match=message):
        open_nuscenes(folder).read(0, LIGHT_KEY, [0])


def test_the_identity_follows_the_notes_of_lights(folder: Path):
    add_lights(folder, NAMES[0], LIGHTS)
    before = open_nuscenes(folder).content_hash([LIGHT_KEY])
    other = open_nuscenes(folder).content_hash([BOXES_KEY])
    add_lights(folder, NAMES[0], [None, *LIGHTS[1:]])
    assert open_nuscenes(folder).content_hash([LIGHT_KEY]) != before
    assert open_nuscenes(folder).content_hash([BOXES_KEY]) == other
