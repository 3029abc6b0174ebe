"""Writing nuScenes' files: scenes appear as a whole, in a folder that can be gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import (
    NAMES,
    START_US,
    Rates,
    boxes_at,
    calibrations,
    ego_at,
    lidar_points,
    map_mask,
    picture,
    radar_targets,
    write_scene,
)

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.layout import LIDAR_CHANNEL, TABLES, Box, scene_names
from tempovla.data.nuscenes.scene_writer import SceneWriter
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.data.nuscenes.writer import NuScenesWriter
from tempovla.timeline.driving import CAMERA_KEYS, LIDAR_KEY
from tempovla.timeline.keys import ACTION_KEY

KEY_FRAMES = Rates(2.0, 2.0, 2.0)


@pytest.fixture
def writer(tmp_path: Path) -> NuScenesWriter:
    with NuScenesWriter(tmp_path / "data", map_mask=map_mask()) as made:
        yield made


def table(root: Path, name: str) -> list[dict]:
    return json.loads((root / "v1.0-mini" / f"{name}.json").read_text())


def refused(action: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


def started(writer: NuScenesWriter, name: str = NAMES[0]) -> SceneWriter:
    return writer.start_scene(name, "", calibrations())


def test_what_was_written_is_read_again(writer: NuScenesWriter):
    write_scene(writer, NAMES[0], 0, 3, KEY_FRAMES)
    source = open_nuscenes(writer.root)
    value, valid = source.read(0, CAMERA_KEYS[0], range(3))
    assert valid.all()
    for step, read in enumerate(value):
        assert np.abs(read.astype(int) - picture(START_US + 500_000 * step, 0)).max() <= 4
    points, valid = source.read(0, LIDAR_KEY, range(3))
    assert valid.all()
    assert (points[1, :40, 3] == lidar_points(START_US + 500_000)[:, 3]).all()
    assert source.boxes(0, 1).category == ("vehicle.car", "human.pedestrian.adult")
    assert source.boxes(0, 0).num_lidar_points.tolist() == [12]


def test_records_name_those_before_and_after_them(writer: NuScenesWriter):
    write_scene(writer, NAMES[0], 0, 3)
    for name, group in (("sample", "scene_token"), ("sample_data", "calibrated_sensor_token"),
                        ("sample_annotation", "instance_token")):  # fmt: skip
        rows = table(writer.root, name)
        known = {row["token"]: row for row in rows}
        for own in {row[group] for row in rows}:
            (first,) = [row for row in rows if row[group] == own and not row["prev"]]
            seen = [first]
            while seen[-1]["next"]:
                seen.append(known[seen[-1]["next"]])
                assert seen[-1]["prev"] == seen[-2]["token"]
            assert len(seen) == sum(row[group] == own for row in rows)
    instances = {row["token"]: row for row in table(writer.root, "instance")}
    marks = table(writer.root, "sample_annotation")
    assert [instances[mark["instance_token"]]["nbr_annotations"] for mark in marks] == [3, 3, 3, 2, 2]


def test_a_sweep_belongs_to_the_next_key_frame(writer: NuScenesWriter):
    write_scene(writer, NAMES[0], 0, 3)
    times = {row["token"]: row["timestamp"] for row in table(writer.root, "sample")}
    last = max(times.values())
    for row in table(writer.root, "sample_data"):
        owner = times[row["sample_token"]]
        if not row["is_key_frame"]:
            assert row["timestamp"] <= owner or owner == last
            assert owner - row["timestamp"] < 500_000
        else:
            assert abs(owner - row["timestamp"]) < 250_000


def test_scenes_are_added_to_a_folder_that_has_some(tmp_path: Path):
    for seed, name in enumerate(NAMES):
        with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
            assert writer.scene_names == frozenset(NAMES[:seed])
            write_scene(writer, name, seed, 2, KEY_FRAMES)
            refused(lambda name=name, writer=writer: started(writer, name), "holds 'scene-.*' already")
    source = open_nuscenes(tmp_path)
    assert [source.episode(episode).origin[-10:] for episode in range(2)] == list(NAMES)
    assert source.embodiment_of(1).cameras[0].fx == 11.0
    assert len(table(tmp_path, "map")) == 1
    assert len(table(tmp_path, "map")[0]["log_tokens"]) == 2
    assert len(table(tmp_path, "category")) == 23


def test_another_town_is_another_map(tmp_path: Path):
    for seed, (name, mask) in enumerate(zip(NAMES, (map_mask(), np.flipud(map_mask())), strict=True)):
        with NuScenesWriter(tmp_path, map_mask=mask) as writer:
            write_scene(writer, name, seed, 2, KEY_FRAMES)
    source = open_nuscenes(tmp_path)
    areas = [source.drivable(episode).contains([[100.0, 50.0], [100.0, 150.0]]).tolist() for episode in range(2)]
    assert areas == [[False, True], [True, False]]
    kept = [source.drivable(episode) for episode in range(2)]
    assert all(source.drivable(episode) is kept[episode] for episode in (1, 0))  # shuffled samples decode no map again


def test_a_scene_that_is_discarded_or_left_leaves_nothing(tmp_path: Path):
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        for end in (SceneWriter.discard, lambda scene: None):
            scene = started(writer)
            ego = ego_at(0.0, 0)
            scene.add_lidar(LIDAR_CHANNEL, ego.time_us, lidar_points(1), ego, key_frame=True)
            scene.add_key_frame(START_US, [])
            end(scene)
            if end is SceneWriter.discard:
                refused(scene.finish, "is finished or discarded already")
                write_scene(writer, NAMES[1], 1, 2, KEY_FRAMES)
    assert not [path for path in tmp_path.rglob("*") if NAMES[0] in path.name]
    assert [row["name"] for row in table(tmp_path, "scene")] == [NAMES[1]]


@pytest.mark.parametrize("kept", range(0, len(TABLES), 2))
def test_whatever_a_kill_leaves_of_a_scenes_tables_can_be_read_and_gone_on_with(tmp_path: Path, kept: int):
    """Tables are written in the order of `TABLES`; a kill may come after any of them."""
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        write_scene(writer, NAMES[0], 0, 2, KEY_FRAMES)
    before = {name: (tmp_path / "v1.0-mini" / f"{name}.json").read_bytes() for name in TABLES}
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        write_scene(writer, NAMES[1], 1, 2, KEY_FRAMES)
    for name in TABLES[kept:]:
        (tmp_path / "v1.0-mini" / f"{name}.json").write_bytes(before[name])
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        assert writer.scene_names == {NAMES[0]}
        write_scene(writer, NAMES[1], 1, 3, KEY_FRAMES)
    source = open_nuscenes(tmp_path)
    assert [source.episode(episode).length for episode in range(2)] == [2, 3]
    for name in TABLES:
        tokens = [row["token"] for row in table(tmp_path, name)]
        assert len(set(tokens)) == len(tokens)
    assert len(table(tmp_path, "sample")) == 5


def test_a_kill_loses_the_scene_in_progress_alone(tmp_path: Path):
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.nuscenes_scenes import *\n"
        "with NuScenesWriter(Path(sys.argv[1]), map_mask=map_mask()) as writer:\n"
        "    write_scene(writer, NAMES[0], 0, 2, Rates(2.0, 2.0, 2.0))\n"
        "    scene = writer.start_scene(NAMES[1], '', calibrations())\n"
        "    ego = ego_at(0.0, 0)\n"
        "    scene.add_lidar(LIDAR_CHANNEL, ego.time_us, lidar_points(1), ego, key_frame=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(open_nuscenes(tmp_path)) == 1
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        write_scene(writer, NAMES[1], 1, 2, KEY_FRAMES)
    assert len(open_nuscenes(tmp_path)) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_writers_do_not_share_a_folder(writer: NuScenesWriter):
    with pytest.raises(DatasetError, match=r"writes nuScenes' files .* there now; wait for it"):
        NuScenesWriter(writer.root, map_mask=map_mask())


def test_a_disturbed_action_is_not_valid_and_commands_are_told(tmp_path: Path):
    with NuScenesWriter(tmp_path, map_mask=map_mask()) as writer:
        told = ["follow", "straight", "left"]
        write_scene(writer, NAMES[0], 0, 3, KEY_FRAMES, commands=told, perturbed=[True, False, False])
    source = open_nuscenes(tmp_path)
    assert source.read(0, ACTION_KEY, range(3)).valid.tolist() == [False, True, False]
    assert [words.split()[1] for words in source.instructions(0)] == ["the", "straight", "left"]


def test_every_can_message_has_a_file(writer: NuScenesWriter):
    write_scene(writer, NAMES[0], 0, 2, KEY_FRAMES, can=False)
    names = ("ms_imu", "pose", "steeranglefeedback", "vehicle_monitor", "zoesensors", "zoe_veh_info", "route")
    for name in names:
        assert json.loads((writer.root / "can_bus" / f"{NAMES[0]}_{name}.json").read_text()) == []
    assert json.loads((writer.root / "can_bus" / f"{NAMES[0]}_meta.json").read_text()) == {}


def test_names_of_scenes_are_those_that_have_can_data():
    names = scene_names(400)
    assert names[0] == "scene-0001"
    assert len(set(names)) == 400
    assert not {"scene-0161", "scene-0176", "scene-0309", "scene-0314"} & set(names)
    assert "scene-0169" in names
    with pytest.raises(ValueError, match="more than four digits name"):
        scene_names(10, first=9995)


@pytest.mark.parametrize("name", ["scene-1", "scene-0161", "town", "scene-00001", "../scene-0001", "scene-0000"])
def test_names_that_readers_refuse_are_refused(writer: NuScenesWriter, name: str):
    refused(lambda: started(writer, name), "must be scene- and four digits")


def test_a_second_scene_waits_for_the_first_one(writer: NuScenesWriter):
    started(writer)
    refused(lambda: started(writer, NAMES[1]), "scene 'scene-0061' is in progress; finish or discard it first")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "mini"}, "version='mini' must be a name that begins with v1.0-"),
        ({"map_mask": np.zeros((3, 3))}, "map_mask has shape .* and type float64"),
        ({"map_mask": np.full((3, 3), 7, np.uint8)}, "255 where one can drive and 0 elsewhere"),
        ({"map_resolution": 0.2}, "map_resolution=0.2 must be 0.1; resize the mask"),
    ],
)
def test_arguments_of_the_writer_that_are_refused(tmp_path: Path, options: dict, message: str):
    refused(lambda: NuScenesWriter(tmp_path, **{"map_mask": map_mask(), **options}), message)


def test_readings_that_do_not_fit_are_refused(writer: NuScenesWriter):
    scene, ego, points = started(writer), ego_at(0.0, 0), lidar_points(1)
    time_us = ego.time_us

    def lidar(time_us: int, **changes) -> None:
        scene.add_lidar(LIDAR_CHANNEL, time_us, points, replace(ego, **changes), key_frame=False)

    lidar(time_us)
    refused(lambda: lidar(time_us), f"LIDAR_TOP at {time_us} us is not after the reading at {time_us} us")
    refused(lambda: lidar(time_us + 1, rotation=np.ones(4)), "ego: rotation .* must be a unit quaternion")
    refused(lambda: lidar(time_us + 1, translation=np.full(3, np.nan)), "must be three finite numbers")
    refused(lambda: lidar(time_us + 1, translation=np.array([-1.0, 5, 0])), "off the map of 250 x 200 m")
    refused(
        lambda: scene.add_radar("RADAR_TOP", 1, radar_targets(1, 0), ego, False), "'RADAR_TOP' is no calibrated rad"
    )
    refused(lambda: scene.add_radar(LIDAR_CHANNEL, 1, radar_targets(1, 0), ego, False), "is no calibrated radar")
    refused(lambda: scene.add_lidar(LIDAR_CHANNEL, 1, points[:, :4], ego, False), r"give \(N, 5\)")
    refused(scene.finish, "has no key frame; add one, or discard the scene")


def test_key_frames_and_boxes_that_do_not_fit_are_refused(writer: NuScenesWriter):
    scene = started(writer)
    (car,) = boxes_at(0.0)

    def box(**changes) -> Box:
        return replace(car, **changes)

    for changes, message in (
        ({"category": "car"}, "category='car' is none of nuScenes'"),
        ({"attribute": "fast"}, "attribute='fast' is none of nuScenes'"),
        ({"visibility": 5}, "visibility=5 must be 1 to 4"),
        ({"size": np.array([1.0, 0.0, 1.0])}, "must be finite, and sizes positive"),
        ({"yaw": float("nan")}, "must be finite"),
    ):
        refused(lambda changes=changes: scene.add_key_frame(START_US, [box(**changes)]), message)
    scene.add_key_frame(START_US, [car, car])
    refused(lambda: scene.add_key_frame(START_US, []), "is not after the one at")
    refused(scene.finish, "'car' has two boxes; give each object its own name")


def test_a_reading_of_a_key_frame_that_was_not_added_is_refused(writer: NuScenesWriter):
    scene = started(writer)
    for time_s in (0.0, 0.5):
        ego = ego_at(time_s, 0)
        scene.add_lidar(LIDAR_CHANNEL, ego.time_us, lidar_points(1), ego, key_frame=True)
    scene.add_key_frame(START_US, [])
    refused(scene.finish, "belongs to a key frame, but none that lacks it was added within 250000 us")


def test_messages_and_sidecars_that_do_not_fit_are_refused(writer: NuScenesWriter):
    scene = started(writer)
    scene.add_key_frame(START_US, [])
    refused(lambda: scene.add_can("gps", []), "message 'gps' is unknown; choose from ms_imu")
    refused(
        lambda: scene.add_can("pose", [{"utime": 5}, {"utime": 5}]), "utime=5 of pose must be whole micros.* after 5"
    )
    refused(lambda: scene.add_sidecar("../x", 1), "must be a word of small letters")
    scene.add_sidecar("commands", ["follow", "left"])
    refused(scene.finish, "commands has 2 entries, but there are 1 key frames")
