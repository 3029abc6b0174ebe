"""Files of single sensors."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.nuscenes_scenes import lidar_points, radar_targets

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.files import (
    jpeg_bytes,
    lidar_bytes,
    radar_bytes,
    read_json_list,
    read_lidar,
    read_picture,
    read_radar,
)
from tempovla.data.nuscenes.layout import RADAR_DTYPE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def refused(read, path: Path, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_points_come_back(path: Path):
    for points in (lidar_points(5), lidar_points(5, 0)):
        path.write_bytes(lidar_bytes(points))
        assert (read_lidar(path) == points).all()
    for targets in (radar_targets(5, 1), radar_targets(5, 1, 0)):
        path.write_bytes(radar_bytes(targets))
        assert (read_radar(path) == targets).all()


def test_radar_targets_have_43_bytes_and_the_header_that_readers_look_for(path: Path):
    lines = radar_bytes(radar_targets(1, 0, 2)).split(b"\n", 11)
    assert lines[0].startswith(b"# .PCD")
    assert lines[2].split()[:6] == [b"FIELDS", b"x", b"y", b"z", b"dyn_prop", b"id"]
    assert lines[3].split()[1:] == [str(RADAR_DTYPE[name].itemsize).encode() for name in RADAR_DTYPE.names]
    assert lines[6] == b"WIDTH 2"
    assert len(lines[11]) == 2 * 43 + 1


def test_an_empty_radar_is_one_target_of_nan(path: Path):
    data = radar_bytes(np.zeros(0, RADAR_DTYPE))
    assert b"\nPOINTS 1\n" in data
    path.write_bytes(data)
    assert len(read_radar(path)) == 0


def test_pictures_come_back_almost(path: Path):
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:, 12:] = (200, 30, 40)
    path.write_bytes(jpeg_bytes(rgb))
    read = read_picture(path)
    assert read.shape == rgb.shape
    assert np.abs(read.astype(int) - rgb).max() <= 8


def test_a_lidar_file_that_is_cut_short_is_refused(path: Path):
    path.write_bytes(lidar_bytes(lidar_points(1))[:-3])
    refused(read_lidar, path, r"has 797 bytes, not a multiple of the 20 bytes of a point")


def test_files_that_are_missing_are_named(path: Path):
    for read in (read_lidar, read_radar, read_picture, read_json_list):
        refused(read, path, "no such file; copy the file again$")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"vx_comp vy_comp", b"vx_comp vz_comp", "FIELDS of its PCD header is x y z .* vz_comp"),
        (b"SIZE 4 4 4 1 2", b"SIZE 4 4 4 1 4", "SIZE of its PCD header is 4 4 4 1 4"),
        (b"TYPE F F F I I", b"TYPE F F F I F", "TYPE of its PCD header is F F F I F"),
        (b"HEIGHT 1", b"HEIGHT 2", "HEIGHT of its PCD header is 2"),
        (b"DATA binary", b"DATA ascii", "DATA of its PCD header is ascii, but nuScenes' radars have binary"),
        (b"WIDTH 3", b"WIDTH 4", "WIDTH 4 and POINTS 3 must be the same whole number"),
        (b"WIDTH 3", b"WIDTH x", "WIDTH x and POINTS 3 must be"),
        (b"WIDTH 3\n", b"", "its PCD header has no WIDTH"),
        (b"DATA binary\n", b"", "has no header of a PCD file"),
    ],
)
def test_radar_files_with_another_header_are_refused(path: Path, old: bytes, new: bytes, message: str):
    data = radar_bytes(radar_targets(1, 0))
    assert old in data
    path.write_bytes(data.replace(old, new))
    refused(read_radar, path, message)


def test_a_radar_file_that_is_cut_short_is_refused(path: Path):
    path.write_bytes(radar_bytes(radar_targets(1, 0))[:-20])
    refused(read_radar, path, "has 110 bytes of points, but 3 points take 129, so that it is cut short")


def test_empty_lines_in_the_header_of_a_radar_file_do_not_matter(path: Path):
    data = radar_bytes(radar_targets(1, 0))
    path.write_bytes(data.replace(b"HEIGHT 1", b"\n  \nHEIGHT 1"))
    assert (read_radar(path) == radar_targets(1, 0)).all()


def test_a_radar_file_needs_no_byte_behind_its_last_point(path: Path):
    path.write_bytes(radar_bytes(radar_targets(1, 0))[:-1])
    assert len(read_radar(path)) == 3


def test_a_picture_that_is_cut_short_is_refused(path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (9, 80, 200)).save(buffer, "jpeg")
    path.write_bytes(buffer.getvalue()[:400])
    refused(read_picture, path, r"damaged image \(.+\); copy the dataset again$")


def test_a_file_of_json_that_is_no_list_is_refused(path: Path):
    path.write_text("{}")
    refused(read_json_list, path, "holds an object, not a list")
    path.write_text("[1, 2")
    refused(read_json_list, path, "not readable as JSON")


def test_values_of_another_shape_or_type_are_not_written():
    with pytest.raises(ValueError, match=r"LiDAR points have shape \[3, 4\]; give \(N, 5\)"):
        lidar_bytes(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"radar targets have type float64"):
        radar_bytes(np.zeros(3))
    with pytest.raises(ValueError, match=r"a picture has shape \[3, 4\] and type float64"):
        jpeg_bytes(np.zeros((3, 4)))
