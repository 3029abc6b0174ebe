"""Distances in pictures, which our writer puts beside nuScenes' files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.nuscenes_scenes import HEIGHT, START_US, WIDTH, Rates, distances, write

from tempovla.data.errors import DatasetError
from tempovla.data.fingerprint import content_hash
from tempovla.data.identity import identity_of
from tempovla.data.nuscenes.files import depth_bytes
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.timeline.driving import CAMERA_KEYS
from tempovla.timeline.keys import DEPTH_KEY_PREFIX

KEYS = tuple(DEPTH_KEY_PREFIX + key.rsplit(".", 1)[1] for key in CAMERA_KEYS)
FRONT = DEPTH_KEY_PREFIX + "front"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "scenes", (3,), Rates(2.0, 2.0, 2.0), depth=True)


def test_distances_are_read_as_they_were_written(folder: Path) -> None:
    source = open_nuscenes(folder)
    source.check()
    for index, key in enumerate(KEYS):
        assert source.streams[key].kind == "depth"
        assert source.streams[key].shape == (HEIGHT, WIDTH, 1)
        value, valid = source.read(0, key, [0, 2])
        assert valid.all()
        for row, step in enumerate((0, 2)):
            np.testing.assert_allclose(value[row], distances(START_US + 500_000 * step, index), atol=1 / 512)
        assert source.timestamps(0, key).tolist() == [0.0, 0.5, 1.0]
        camera = source.embodiment_of(0).camera(key)
        colours = source.embodiment_of(0).camera(key.replace("depth", "images"))
        assert camera is not None
        assert colours is not None
        assert (camera.pose, camera.fx, camera.width) == (colours.pose, colours.fx, colours.width)


def test_scenes_without_distances_have_no_such_streams(tmp_path: Path) -> None:
    source = open_nuscenes(write(tmp_path / "scenes", (2,), Rates(2.0, 2.0, 2.0)))
    assert not any(key.startswith(DEPTH_KEY_PREFIX) for key in source.streams)
    assert len(source.embodiment.cameras) == len(CAMERA_KEYS)


def test_what_is_too_far_or_not_finite_is_no_reading(folder: Path) -> None:
    path = next((folder / "depth" / "CAM_FRONT").iterdir())
    metres = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    metres[0, :4, 0] = 255.99, 256.5, np.inf, np.nan
    path.write_bytes(depth_bytes(metres, (HEIGHT, WIDTH)))
    value = open_nuscenes(folder).read(0, FRONT, [0]).value[0]
    np.testing.assert_allclose(value[0, :4, 0], [255.99, 0, 0, 0], atol=1 / 512)
    with pytest.raises(ValueError, match=r"give \[8, 16, 1\], as the picture has, and no distance below 0"):
        depth_bytes(metres[1:], (HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="no distance below 0"):
        depth_bytes(metres - 1, (HEIGHT, WIDTH))


def test_a_file_that_is_missing_damaged_or_of_another_size_is_named(folder: Path) -> None:
    path = sorted((folder / "depth" / "CAM_FRONT").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=f"{path}: damaged image"):
        open_nuscenes(folder).read(0, FRONT, [0])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path)
    with pytest.raises(DatasetError, match=rf"{path}: has height and width \[4, 4\], but the picture that it belongs"):
        open_nuscenes(folder).read(0, FRONT, [0])
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=f"{path}: has 0 bytes"):
        open_nuscenes(folder).check()
    path.unlink()
    with pytest.raises(DatasetError, match=f"{path}: no such file"):
        open_nuscenes(folder).read(0, FRONT, [0])
    masked = open_nuscenes(folder, NuScenesOptions(missing="mask")).read(0, FRONT, [0, 1])
    assert masked.valid.tolist() == [False, True]
    assert not masked.value[0].any()


def test_the_hash_of_a_stream_follows_its_own_files(folder: Path) -> None:
    source = open_nuscenes(folder)
    depth, colours = (content_hash(source, [key]) for key in (FRONT, CAMERA_KEYS[0]))
    assert sum("depth/" in str(path) for path in identity_of(source, [FRONT]).files) == 3
    path = sorted((folder / "depth" / "CAM_FRONT").iterdir())[0]
    path.write_bytes(depth_bytes(np.ones((HEIGHT, WIDTH, 1), np.float32), (HEIGHT, WIDTH)))
    again = open_nuscenes(folder)
    assert content_hash(again, [FRONT]) != depth
    assert content_hash(again, [CAMERA_KEYS[0]]) == colours
