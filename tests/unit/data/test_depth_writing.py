"""Depth is written to the millimetre in every format, and what is no reading stays none."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.libero_recordings import MILK, SOUP, episode, extras, instruction

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import encode_depth, from_levels, to_levels
from tempovla.data.inspection import inspect
from tempovla.data.lerobot import open_dataset
from tempovla.data.libero_hdf5 import open_libero
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.memory import preload
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.timeline import CameraCalibration

FRONT, DEPTH = "observation.images.front", "observation.depth.front"
AGENT_DEPTH = "observation.depth.agentview_rgb"
CAMERA = CameraCalibration(AGENT_DEPTH, 16, 16, 20.0, 20.0, 8.0, 8.0)


def distances(length: int = 3, size: int = 16) -> np.ndarray:
    """(T, S, S, 1) float32 [m] in whole millimetres, with holes."""
    levels = np.random.default_rng(0).integers(1, 65_535, (length, size, size, 1))
    levels[:, :2] = 0
    return from_levels(levels.astype(np.uint16))


def steps() -> dict[str, np.ndarray]:
    numbers = np.zeros((3, 2), np.float32)
    pictures = np.full((3, 16, 16, 3), 9, np.uint8)
    return {"observation.state": numbers, "action": numbers, FRONT: pictures, DEPTH: distances()}


def written(root: Path, frames: dict[str, np.ndarray]):
    with DatasetWriter(root, infer_features(frames), 10.0, robot_type="arm") as writer:
        writer.add_episode(frames, "go")
    return open_dataset(root)


def test_whole_millimetres_come_back_bit_for_bit(tmp_path: Path):
    source = written(tmp_path / "data", steps())
    info = source.streams[DEPTH]
    assert (info.kind, info.shape, info.dtype) == ("depth", (16, 16, 1), "float32")
    np.testing.assert_array_equal(source.read(0, DEPTH, range(3)).value, distances())
    entry = json.loads((tmp_path / "data" / "meta" / "info.json").read_text())["features"][DEPTH]
    assert (entry["dtype"], entry["shape"]) == ("image", [16, 16, 1])
    assert entry["info"] == {"is_depth_map": True, "depth_unit": "mm"}
    facts = inspect(tmp_path / "data")["features"][DEPTH]
    assert (facts["kind"], facts["warnings"]) == ("depth", [])


def test_depth_is_preloaded_and_converted_as_it_is(tmp_path: Path):
    source = written(tmp_path / "data", steps())
    kept = preload(source, [DEPTH, "action"], 1 << 20)
    reading = kept.read(0, DEPTH, [-1, 2])
    np.testing.assert_array_equal(reading.value, distances()[[0, 2]])
    assert reading.valid.tolist() == [False, True]
    convert(tmp_path / "data", tmp_path / "copy")
    np.testing.assert_array_equal(open_dataset(tmp_path / "copy").read(0, DEPTH, range(3)).value, distances())


def test_recording_goes_on_with_depth(tmp_path: Path):
    written(tmp_path / "data", steps())
    with DatasetWriter(tmp_path / "data", infer_features(steps()), 10.0, robot_type="arm", resume=True) as writer:
        writer.add_episode(steps(), "go")
    np.testing.assert_array_equal(open_dataset(tmp_path / "data").read(1, DEPTH, range(3)).value, distances())


def test_what_is_no_reading_stays_none_and_the_rest_is_rounded():
    metres = np.array([[0.0, np.nan, np.inf, -np.inf, 70.0, 65.535, 0.0004, 1.2346]])
    assert to_levels(metres).tolist() == [[0, 0, 0, 0, 0, 65535, 0, 1235]]
    assert encode_depth(metres[..., None], 0.001).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (-distances(), r"depth 'observation\.depth\.front' is -.* m at step 0; give distances of 0 m or more"),
        (distances()[:, :8], r"'observation\.depth\.front' has shape \[3, 8, 16, 1\], not \[3, 16, 16, 1\]"),
        (distances().astype(np.int64), r"depth 'observation\.depth\.front' is int64; give floats in metres"),
    ],
)
def test_what_is_no_depth_is_refused(tmp_path: Path, values, told):
    with (
        DatasetWriter(tmp_path / "data", infer_features(steps()), 10.0, robot_type="arm") as writer,
        pytest.raises(DatasetError, match=told) as error,
    ):
        writer.add_episode(steps() | {DEPTH: values}, "go")
    assert "\n" not in str(error.value)


def recorded(folder: Path, *cameras: tuple[CameraCalibration, ...], depth: tuple[bool, ...] = (True, True)):
    """LIBERO's files of two tasks, an episode each."""
    with LiberoHdf5Writer(folder) as writer:
        for index, task in enumerate((MILK, SOUP)):
            frames = episode(index, 3) | ({AGENT_DEPTH: distances()} if depth[index] else {})
            own = replace(extras(3, task), cameras=cameras[index] if cameras else ())
            writer.add_episode(task, instruction(task), frames, own)
    return open_libero(folder)


def test_liberos_files_hold_depth_as_upright_as_pictures(tmp_path: Path):
    source = recorded(tmp_path / "hdf5", (CAMERA,), (CAMERA,))
    assert source.streams[AGENT_DEPTH].kind == "depth"
    for index in range(2):
        np.testing.assert_array_equal(source.read(index, AGENT_DEPTH, range(3)).value, distances())
    assert source.embodiment.cameras == (CAMERA,)
    with h5py.File(tmp_path / "hdf5" / f"{MILK}_demo.hdf5") as file:
        stored = file["data/demo_0/obs/agentview_depth"]
        assert (stored.dtype, stored.attrs["depth_unit"]) == (np.uint16, "mm")
        np.testing.assert_array_equal(stored[()][:, ::-1], to_levels(distances()))
    convert(tmp_path / "hdf5", tmp_path / "v30")
    converted = open_dataset(tmp_path / "v30")
    np.testing.assert_array_equal(converted.read(0, AGENT_DEPTH, range(3)).value, distances())
    assert converted.embodiment.cameras == (CAMERA,)


def test_liberos_files_without_depth_are_as_they_were(tmp_path: Path):
    source = recorded(tmp_path / "hdf5", depth=(False, False))
    assert not any(info.kind == "depth" for info in source.streams.values())
    assert source.embodiment.cameras == ()
    with h5py.File(tmp_path / "hdf5" / f"{MILK}_demo.hdf5") as file:
        assert "tempovla_cameras" not in file["data/demo_0"].attrs


def test_depth_of_some_demonstrations_alone_is_left_out_with_the_reason(tmp_path: Path):
    source = recorded(tmp_path / "hdf5", depth=(True, False))
    assert AGENT_DEPTH not in source.streams
    assert "has no obs/agentview_depth, which others have" in source.streams.left_out[AGENT_DEPTH]


def test_depth_of_other_writers_is_passed_by_and_a_damaged_one_refused(tmp_path: Path):
    recorded(tmp_path / "hdf5")
    path = tmp_path / "hdf5" / f"{MILK}_demo.hdf5"
    with h5py.File(path, "r+") as file:
        stored = file["data/demo_0/obs/agentview_depth"]
        stored.attrs["depth_unit"] = "inch"
    with pytest.raises(DatasetError, match=r"demo_0: obs/agentview_depth is uint16 \[3, 16, 16, 1\] in 'inch', not"):
        open_libero(path)
    with h5py.File(path, "r+") as file:
        del file["data/demo_0/obs/agentview_depth"].attrs["depth_unit"]
    assert AGENT_DEPTH not in open_libero(path).streams


def test_damaged_calibrations_of_liberos_files_are_refused(tmp_path: Path):
    recorded(tmp_path / "hdf5", (CAMERA,), (CAMERA,))
    path = tmp_path / "hdf5" / f"{MILK}_demo.hdf5"
    with h5py.File(path, "r+") as file:
        file["data/demo_0"].attrs["tempovla_cameras"] = '[{"stream": 1}]'
    with pytest.raises(DatasetError, match=r"demo_0: attribute 'tempovla_cameras'.*keys .* are missing"):
        open_libero(path)


def test_libero_distances_of_another_length_are_refused(tmp_path: Path):
    with (
        LiberoHdf5Writer(tmp_path) as writer,
        pytest.raises(DatasetError, match=r"'observation\.depth\.agentview_rgb' has shape \[2, 16, 16, 1\]; give"),
    ):
        writer.add_episode(MILK, instruction(MILK), episode(0, 3) | {AGENT_DEPTH: distances(2)}, extras(3))
