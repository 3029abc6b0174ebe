"""Folders that are damaged: errors of one line that name the file, the table and the token, or readings not valid."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.nuscenes_scenes import lidar_points

from tempovla.data.errors import DatasetError, OutOfRangeError, UnknownStreamError
from tempovla.data.inspection import inspect
from tempovla.data.nuscenes.files import jpeg_bytes, lidar_bytes
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.data.open import open_source
from tempovla.timeline.driving import CAMERA_KEYS, IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

Edit = Callable[[str, Callable[[list[dict[str, Any]]], object]], None]
MASK = NuScenesOptions(missing="mask")


def refused(action: Callable[[], object], *parts: str) -> None:
    """Expect an error of one line that holds these parts."""
    with pytest.raises(DatasetError) as caught:
        action()
    told = str(caught.value)
    assert "\n" not in told
    for part in parts:
        assert part in told, told


def sensor_file(folder: Path, channel: str, number: int = 1) -> tuple[Path, str]:
    """The file of a reading of a key frame, and the reading's token."""
    readings = json.loads((folder / "v1.0-mini" / "sample_data.json").read_text())
    reading = [row for row in readings if f"/{channel}/" in row["filename"]][number]
    return folder / reading["filename"], reading["token"]


def test_tables_that_are_missing_are_all_named(folder: Path):
    for name in ("ego_pose", "visibility"):
        (folder / "v1.0-mini" / f"{name}.json").unlink()
    refused(lambda: open_source(folder), str(folder / "v1.0-mini"), "lacks visibility.json, ego_pose.json")


def test_a_folder_without_tables_is_refused(tmp_path: Path):
    refused(lambda: open_nuscenes(tmp_path), "has no folder v1.0-*")
    refused(lambda: open_source(tmp_path), "nor nuScenes', it has no v1.0-*")


def test_of_several_versions_one_has_to_be_chosen(folder: Path):
    (folder / "v1.0-test").mkdir()
    refused(lambda: open_source(folder), "has tables of v1.0-mini, v1.0-test; choose one of them as the version")
    assert len(open_source(folder, nuscenes=NuScenesOptions(version="v1.0-mini"))) == 1
    refused(
        lambda: open_source(folder, nuscenes=NuScenesOptions(version="v1.0-val")),
        "has no tables of version 'v1.0-val'; it has v1.0-mini, v1.0-test",
    )


@pytest.mark.parametrize("text", ["", "{}", "[", '[{"token": "a"}', '[{"token": "a"} {}]', "[1]", "[{]"])
def test_tables_that_are_no_whole_list_of_records_are_refused(folder: Path, text: str):
    path = folder / "v1.0-mini" / "log.json"
    path.write_text(text)
    refused(lambda: open_nuscenes(folder), f"{path}: ", "copy the tables again")


@pytest.mark.parametrize(
    ("table", "column"),
    [("scene", "log_token"), ("sample", "scene_token"), ("sample_data", "ego_pose_token"), ("sample_data", "next"),
     ("calibrated_sensor", "sensor_token"), ("instance", "category_token"), ("sample_annotation", "instance_token")],
)  # fmt: skip
def test_a_token_that_leads_nowhere_is_named_with_its_table_and_file(folder: Path, edit: Edit, table: str, column: str):
    told = []

    def damage(records: list[dict[str, Any]]) -> None:
        told.append(records[0]["token"])
        records[0][column] = "cafe"

    edit(table, damage)
    path = folder / "v1.0-mini" / f"{table}.json"
    refused(lambda: open_nuscenes(folder), f"{path}: {table} {told[0]!r}: {column} is 'cafe', a token that")


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("sample_data", "timestamp", "12", "is '12', not a whole number"),
        ("sample_data", "timestamp", 10**30, "is 1000000000000000000000000000000, not a whole number"),
        ("ego_pose", "translation", [10**400, 0, 0], "not 3 finite numbers"),
        ("ego_pose", "rotation", [0.0, 0.0, 0.0, 0.0], "is [0.0, 0.0, 0.0, 0.0], not a quaternion of length 1"),
        ("calibrated_sensor", "rotation", [1e308, 0, 0, 1e308], "not a quaternion of length 1"),
        ("sensor", "channel", "CAM_FRONT\0", "is 'CAM_FRONT\\x00', not a text"),
        ("sample_data", "is_key_frame", 1, "is 1, not true or false"),
        ("sample_data", "filename", None, "is None, not a text"),
        ("ego_pose", "translation", [1.0, 2.0], "is [1.0, 2.0], not 3 finite numbers"),
        ("ego_pose", "rotation", [1.0, float("nan"), 0.0, 0.0], "not 4 finite numbers"),
        ("calibrated_sensor", "camera_intrinsic", 3, "is 3, not a list"),
        ("sample_annotation", "size", "big", "is 'big', not 3 finite numbers"),
        ("sample_annotation", "attribute_tokens", ["cafe"], "is 'cafe', a token that attribute.json does not have"),
    ],
)
def test_a_value_of_another_kind_is_named(folder: Path, edit: Edit, table: str, column: str, value: Any, message: str):
    edit(table, lambda records: records[0].update({column: value}))
    refused(lambda: open_nuscenes(folder), f"{table} ", f": {column} ", message)


def test_a_record_without_a_column_or_a_token_and_a_token_that_is_there_twice_are_named(folder: Path, edit: Edit):
    edit("log", lambda records: records.append(dict(records[0])))
    refused(lambda: open_nuscenes(folder), "of log is there twice")
    edit("log", lambda records: (records.pop(), records[0].pop("vehicle")))
    refused(lambda: open_nuscenes(folder), "log.json: log ", "has no vehicle")
    edit("log", lambda records: records[0].pop("token"))
    refused(lambda: open_nuscenes(folder), "record 0 of log has no token")


def test_times_that_do_not_increase_are_named(folder: Path, edit: Edit):
    edit("sample", lambda records: records[1].update(timestamp=records[0]["timestamp"] - 1))
    refused(lambda: open_nuscenes(folder), "sample.json: sample ", "which is not later")


def test_readings_of_the_same_time_are_named(folder: Path, edit: Edit):
    def damage(records: list[dict[str, Any]]) -> None:
        own = [record for record in records if "CAM_BACK/" in record["filename"]]
        own[0]["next"] = own[1]["next"]
        own[1].update(next="", timestamp=own[0]["timestamp"])

    edit("sample_data", damage)
    refused(lambda: open_nuscenes(folder).read(0, STATE_KEY, [0]), "of one sensor have the same time")


def test_a_scene_without_key_frames_or_with_another_number_of_them_is_named(folder: Path, edit: Edit):
    edit("scene", lambda records: records[0].update(nbr_samples=4))
    refused(lambda: open_nuscenes(folder), "scene.json: scene ", "has nbr_samples 4, but 3 in sample.json")
    edit("scene", lambda records: records.append({**records[0], "token": "other"}))
    refused(lambda: open_nuscenes(folder), "scene.json: scene 'other' has no sample in sample.json")


def test_a_scene_without_any_reading_is_named(folder: Path, edit: Edit):
    edit("sample_data", lambda records: records.clear())
    refused(lambda: open_nuscenes(folder), "scene.json: scene ", "has no reading in sample_data.json")


@pytest.mark.parametrize("name", ["../scene-0061", "a" * 250])
def test_a_scene_whose_name_leads_elsewhere_is_named(folder: Path, edit: Edit, name: str):
    edit("scene", lambda records: records[0].update(name=name))
    refused(lambda: open_nuscenes(folder), "scene.json: scene ", "is no name of files")


@pytest.mark.parametrize(
    ("channel", "key"), [("CAM_FRONT", CAMERA_KEYS[0]), ("LIDAR_TOP", LIDAR_KEY), ("RADAR_FRONT", RADAR_KEY)]
)
def test_a_sensor_file_that_is_missing_is_named_or_masked(folder: Path, channel: str, key: str):
    path, token = sensor_file(folder, channel)
    path.unlink()
    refused(
        lambda: open_nuscenes(folder).read(0, key, [1]),
        f"sample_data {token!r}",
        f"{path}: no such file",
        "data.nuscenes.missing=mask",
    )
    value, valid = open_nuscenes(folder, MASK).read(0, key, [0, 1, 2])
    if key == RADAR_KEY:  # the others are there
        assert valid.all()
        assert [int((~np.isnan(targets[:, 0])).sum()) for targets in value] == [15, 12, 15]
    else:
        assert valid.tolist() == [True, False, True]
        assert not np.nan_to_num(value[1]).any()


def test_without_any_radar_file_a_masked_reading_is_not_valid(folder: Path):
    for path in folder.glob("samples/RADAR_*/*"):
        path.unlink()
    value, valid = open_nuscenes(folder, MASK).read(0, RADAR_KEY, [0, 1, 2])
    assert not valid.any()
    assert np.isnan(value).all()


@pytest.mark.parametrize(
    ("channel", "key"), [("CAM_FRONT", CAMERA_KEYS[0]), ("LIDAR_TOP", LIDAR_KEY), ("RADAR_FRONT", RADAR_KEY)]
)
def test_a_sensor_file_that_is_cut_short_is_named_even_where_missing_ones_are_masked(
    folder: Path, channel: str, key: str
):
    path, token = sensor_file(folder, channel)
    path.write_bytes(path.read_bytes()[:-9])
    for options in (MASK, NuScenesOptions()):
        refused(lambda options=options: open_nuscenes(folder, options).read(0, key, [1]), repr(token), str(path))


def test_empty_clouds_and_points_of_nan_are_no_points(folder: Path):
    path, _ = sensor_file(folder, "LIDAR_TOP")
    path.write_bytes(b"")
    value, valid = open_nuscenes(folder).read(0, LIDAR_KEY, [1])
    assert valid.all()
    assert np.isnan(value).all()
    points = lidar_points(1, 4)
    points[1, 0], points[2, 3] = np.nan, np.inf
    path.write_bytes(lidar_bytes(points))
    value, valid = open_nuscenes(folder).read(0, LIDAR_KEY, [1])
    assert valid.all()
    assert (~np.isnan(value[0]).any(axis=1)).tolist() == [True, True] + [False] * (len(value[0]) - 2)
    assert value[0, :2, 3].tolist() == points[[0, 3], 3].tolist()


def test_a_file_name_that_leads_out_of_the_folder_is_refused(folder: Path, edit: Edit):
    def damage(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["filename"] = "../../outside.jpg"

    edit("sample_data", damage)
    refused(lambda: open_nuscenes(folder).read(0, CAMERA_KEYS[0], [0]), "filename", "leads out of the folder")


def test_a_picture_of_another_size_is_named(folder: Path):
    path, token = sensor_file(folder, "CAM_FRONT")
    other, _ = sensor_file(folder, "CAM_FRONT", 0)
    path.write_bytes(jpeg_bytes(np.zeros((4, 4, 3), np.uint8)))
    refused(lambda: open_nuscenes(folder).read(0, CAMERA_KEYS[0], [1]), repr(token), "has height and width [4, 4]")
    assert open_nuscenes(folder).read(0, CAMERA_KEYS[0], [0]).valid.all()
    assert other.exists()


def test_a_camera_whose_pictures_change_their_size_is_left_out_with_the_reason(folder: Path, edit: Edit):
    edit("sample_data", lambda records: records[0].update(height=9))
    source = open_nuscenes(folder)
    with pytest.raises(UnknownStreamError, match=r"is left out: .*pictures of one size are needed"):
        source.read(0, CAMERA_KEYS[0], [0])


@pytest.mark.parametrize(
    ("message", "rows", "told"),
    [
        ("pose", [{"vel": [1, 0, 0]}], "row 0 has no utime in whole microseconds"),
        ("pose", [{"utime": 1, "vel": [1, 0], "accel": [0, 0, 0]}], "row 0 has vel [1, 0], not 3 finite numbers"),
        ("steeranglefeedback", [{"utime": 1, "value": "a"}], "row 0 has value 'a', not a finite number"),
        ("pose", [{"utime": 10**30}], "row 0 has no utime in whole microseconds"),
        ("steeranglefeedback", [{"utime": 1, "value": 10**400}], "not a finite number"),
        ("steeranglefeedback", [{"utime": 1, "value": -(10**400)}], "not a finite number"),
        ("tempovla_perturbed", [True], "has 1 entries, but the scene has 3 key frames"),
    ],
)
def test_can_messages_that_are_damaged_are_named(folder: Path, message: str, rows: list, told: str):
    path = folder / "can_bus" / f"scene-0061_{message}.json"
    path.write_text(json.dumps(rows))
    refused(lambda: open_nuscenes(folder).read(0, STATE_KEY, [0]), f"{path}: ", told)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("route", "[[1, 2], [3]]", "is not a list of points x, y"),
        ("route", f"[[1, 2], [{10**9}, 3]]", "is 1e+09 m long, which no route is"),
        ("route", f"[[1, 2], [{10**400}, 3]]", "is not a list of points x, y"),
        ("tempovla_commands", '["follow", "back", "left"]', "holds 'back', none of follow, left, right, straight"),
    ],
)
def test_routes_and_commands_that_are_damaged_are_named(folder: Path, name: str, text: str, told: str):
    path = folder / "can_bus" / f"scene-0061_{name}.json"
    path.write_text(text)
    refused(lambda: open_nuscenes(folder).instructions(0), f"{path}: {told}")


def test_without_can_files_the_rest_is_there(folder: Path):
    for path in folder.glob("can_bus/*"):
        path.unlink()
    source = open_nuscenes(folder)
    assert IMU_KEY not in source.streams
    assert source.read(0, ACTION_KEY, range(3)).valid.tolist() == [True, True, False]
    assert source.read(0, STATE_KEY, range(3)).valid.tolist() == [False, False, True]


def test_episodes_steps_and_streams_that_there_are_not_are_told(folder: Path):
    source = open_nuscenes(folder)
    for action in (lambda: source.episode(1), lambda: source.read(-1, STATE_KEY, [0]), lambda: source.boxes(0, 3)):
        with pytest.raises(OutOfRangeError):
            action()
    with pytest.raises(KeyError, match=r"no stream 'observation.points.sonar'; did you mean"):
        source.read(0, "observation.points.sonar", [0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0}, "rate_hz=0 must be a positive number"),
        ({"max_lidar_points": 0}, "max_lidar_points=0 must be a positive whole number"),
        ({"max_radar_points": "5"}, "max_radar_points='5' must be"),
        ({"commands": "map"}, "commands='map' is unknown; choose from told, path"),
        ({"missing": "skip"}, "missing='skip' is unknown; choose from error, mask"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str):
    refused(lambda: NuScenesOptions(**options), message)


def test_options_of_other_formats_are_refused(folder: Path):
    refused(lambda: open_source(folder, depth_unit="mm"), "is a dataset of nuScenes, for which depth_unit='mm'")


def test_a_map_that_is_missing_or_damaged_is_named(folder: Path, edit: Edit):
    (path,) = folder.glob("maps/*")
    path.write_bytes(b"no picture")
    refused(lambda: open_nuscenes(folder).drivable(0), f"{path}: cannot be decoded as PNG")
    path.unlink()
    refused(lambda: open_nuscenes(folder).drivable(0), f"{path}: no such file")
    edit("map", lambda records: records[0].update(log_tokens=[]))
    assert open_nuscenes(folder).drivable(0) is None


def test_a_map_of_another_size_than_its_place_is_refused_or_warned_of(folder: Path, caplog):
    (path,) = folder.glob("maps/*")
    mask = Image.open(path)
    mask.resize((mask.width // 4, mask.height // 4)).save(path)
    refused(
        lambda: open_nuscenes(folder).drivable(0),
        f"{path}: has 625 x 500 pixels of 0.1 m, but the car drives beside it, at x=100.0 m, y=120.0 m; copy the map",
    )
    Image.new("L", (2500, 2000)).save(path)
    assert open_nuscenes(folder).drivable(0) is not None
    assert [
        line for line in caplog.messages if line.startswith(f"{path}: has 2500 x 2000 pixels of 0.1 m, and only 0%")
    ]


def test_inspection_names_a_sensor_file_that_is_missing_or_cut_short(folder: Path):
    assert inspect(folder)["format"] == "nuscenes"
    assert inspect(folder)["frames"] == 3
    path, token = sensor_file(folder, "LIDAR_TOP")
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    refused(lambda: inspect(folder), repr(token), f"{path}: has {len(data) - 1} bytes, so that it is cut short")
    path.unlink()
    refused(lambda: inspect(folder), repr(token), f"{path}: no such file")
    open_nuscenes(folder, MASK).check()
    path.write_bytes(data)
    picture, token = sensor_file(folder, "CAM_BACK")
    picture.write_bytes(b"")
    refused(lambda: inspect(folder), repr(token), f"{picture}: has 0 bytes")
