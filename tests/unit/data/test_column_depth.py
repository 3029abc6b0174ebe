"""Depth is read in metres, from pictures, numbers and videos; where its unit is not known it is refused."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from tests.foreign import FRONT, SIDE, WRITERS, Foreign, encode_image, write_v21
from tests.stored_columns import DEPTH, LENGTHS, STRUCT, Storage, one_camera, told, with_column

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.lerobot import open_dataset


def millimetres(index: int, step: int) -> np.ndarray:
    return (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) + 400 + 10 * step + 100 * index).astype(np.uint16)


def depth_column(kind: str) -> Storage:
    def column(index: int, length: int) -> pa.Array:
        stored = [millimetres(index, step) for step in range(length)]
        if kind == "numbers":
            return pa.array([image.tolist() for image in stored], pa.list_(pa.list_(pa.uint16())))
        if kind == "tiff of floats":
            data = [encode_image((image / 1000).astype(np.float32), "tiff") for image in stored]
        else:
            data = [encode_image(image) for image in stored]
        if kind == "binary":
            return pa.array(data, pa.binary())
        return pa.array([{"bytes": item, "path": None} for item in data], STRUCT)

    return column


DEPTHS = {
    "png": ({"dtype": "image", "shape": [SIDE, SIDE, 1], "info": {"is_depth_map": True}}, "mm"),
    "binary": ({"dtype": "depth", "shape": [SIDE, SIDE, 1], "info": {"depth_unit": "mm"}}, None),
    "numbers": ({"dtype": "uint16", "shape": [SIDE, SIDE], "names": None}, "0.001"),
    "tiff of floats": ({"dtype": "image", "shape": [1, SIDE, SIDE], "info": {"video.is_depth_map": True}}, "m"),
}


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("png", "v2.1"),
        ("png", "v3.0"),
        ("binary", "v2.1"),
        ("numbers", "v2.1"),
        ("numbers", "v3.0"),
        ("tiff of floats", "v2.1"),
    ],
)
def test_depth_is_read_in_metres_and_converted(tmp_path: Path, kind: str, version: str) -> None:
    entry, unit = DEPTHS[kind]
    root = WRITERS[version](tmp_path / "old", with_column(DEPTH, entry, depth_column(kind)))
    window = [f"{DEPTH}=0,1"]
    facts = inspect(root)["features"]
    assert (facts[DEPTH]["kind"], facts[DEPTH]["shape"], facts[FRONT]["kind"]) == ("depth", [SIDE, SIDE, 1], "image")
    if unit is not None:
        assert "depth of an unknown unit; give --depth-unit" in facts[DEPTH]["warnings"][0]
        with pytest.raises(DatasetError, match=rf"'{DEPTH}' row \d: depth of an unknown unit; give --depth-unit mm"):
            sample_windows(root, 1, 0, window)
    assert inspect(root, depth_unit=unit)["features"][DEPTH]["warnings"] == []
    convert(root, tmp_path / "new", depth_unit=unit)
    for folder, given in ((root, unit), (tmp_path / "new", None)):  # the converted one tells the unit
        depth = sample_windows(folder, 1, 0, window, depth_unit=given)[DEPTH]
        assert (depth.dtype, depth.shape) == (np.float32, (2, SIDE, SIDE, 1))
        for step in (0, 1):
            np.testing.assert_allclose(depth[step, ..., 0], millimetres(1, step) / 1000.0, rtol=1e-6)
    assert told(tmp_path / "new") == [(1, 0, 0), (1, 1, 0)]


def encode_levels(path: Path, images: list[np.ndarray], codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    """Write (H, W) uint16 levels without loss."""
    with av.open(str(path), "w", format="matroska" if codec == "ffv1" else "mp4") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = images[0].shape
        stream.pix_fmt, stream.options = pix_fmt, options
        for number, image in enumerate(images):
            frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
            plane = np.zeros((image.shape[0], frame.planes[0].line_size // 2), np.uint16)
            plane[:, : image.shape[1]] = image
            frame.planes[0].update(plane)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


LEVELS = {"video.depth_min": 0.01, "video.depth_max": 10.0, "video.shift": 3.5, "video.use_log": True}
X265 = {"x265-params": "lossless=1:log-level=error:bframes=0:keyint=2"}


@pytest.mark.parametrize(
    ("info", "codec", "pix_fmt"),
    [
        (LEVELS, "libx265", "gray12le"),
        (LEVELS | {"video.use_log": False}, "libx265", "gray12le"),
        ({"video.pix_fmt": "gray16le", "depth_unit": "mm"}, "ffv1", "gray16le"),
    ],
)
def test_depth_in_a_video_is_read_where_its_levels_are_known(
    tmp_path: Path, info: dict[str, Any], codec: str, pix_fmt: str
) -> None:
    """As LeRobot writes them: 12 bits, even in the logarithm of the distance or in the distance."""
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 1], "names": None, "info": info | {"is_depth_map": True}}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, cameras=(FRONT, DEPTH), features={DEPTH: entry}))
    distances_m = np.linspace(0.01, 10, SIDE * SIDE).reshape(SIDE, SIDE) + np.zeros((3, 1, 1))
    distances_m[:, 0, :5] = np.arange(3)[:, None] + 0.5
    distances_m[:, 1, :7] = 0  # no reading
    if "depth_unit" in info:
        levels = np.round(distances_m * 1000)
    elif info["video.use_log"]:
        levels = np.log((distances_m + 3.5) / 3.51) / np.log(13.5 / 3.51) * 4095
    else:
        levels = (distances_m - 0.01) / 9.99 * 4095
    stored = np.clip(np.round(levels), 0, 65535).astype(np.uint16)
    for index, length in enumerate(LENGTHS):
        path = root / f"videos/chunk-000/{DEPTH}/episode_{index:06d}.mp4"
        encode_levels(path, list(stored[:length]), codec, pix_fmt, X265 if codec == "libx265" else {})
    assert inspect(root)["features"][DEPTH] == {
        "dtype": "video",
        "kind": "depth",
        "shape": [SIDE, SIDE, 1],
        "names": [],
        "warnings": [],
    }
    depth = sample_windows(root, 0, 0, [f"{DEPTH}=0,2"])[DEPTH]
    assert depth.dtype == np.float32
    assert (depth[:, 1, :7] == 0).all()
    np.testing.assert_allclose(depth[..., 0], distances_m[[0, 2]], atol=0.003)
    assert told(root) == [(1, 0, 0), (1, 1, 0)]


def test_depth_in_a_video_of_8_bits_is_named(tmp_path: Path) -> None:
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 1], "names": None, "info": LEVELS | {"is_depth_map": True}}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, cameras=(FRONT, DEPTH), features={DEPTH: entry}))
    assert "pixel format yuv420p, not of 12 bits" in inspect(root)["features"][DEPTH]["warnings"][0]
    with pytest.raises(DatasetError, match=r"episode_000001.mp4: frames of the pixel format yuv420p, not of 12 bits"):
        sample_windows(root, 1, 0, [f"{DEPTH}=0"])


def test_a_unit_for_no_depth_or_against_what_is_declared_is_refused(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", with_column(DEPTH, DEPTHS["binary"][0], depth_column("binary")))
    with pytest.raises(DatasetError, match=r"depth unit 'm', but meta/info.json gives .* one of 0.001 m"):
        inspect(root, depth_unit="m")
    assert inspect(root, depth_unit="mm")["features"][DEPTH]["warnings"] == []
    write_v21(root, Foreign(lengths=LENGTHS))
    with pytest.raises(DatasetError, match="no depth of the dataset needs one; leave the option out"):
        inspect(root, depth_unit="mm")


def test_a_picture_of_16_bits_is_no_rgb(tmp_path: Path) -> None:
    entry = {"dtype": "image", "shape": [SIDE, SIDE, 1], "names": None}
    root = write_v21(tmp_path / "set", one_camera(depth_column("png"), features={FRONT: entry}))
    for read in (inspect, told):
        with pytest.raises(DatasetError, match=rf"'{FRONT}' row 0: a picture of more than 8 bits.*is_depth_map"):
            read(root)


@pytest.mark.parametrize(("unit", "metres"), [("Millimeters", 1.0), ("MM", 1.0), ("metre", 1000.0), ("cm", 10.0)])
def test_units_of_depth_in_words(tmp_path: Path, unit: str, metres: float) -> None:
    entry = {"dtype": "uint16", "shape": [2, 2], "info": {"is_depth_map": "true", "depth_unit": unit}}

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {DEPTH: pa.array([[[1000, 1000], [1000, 1000]]] * length, pa.list_(pa.list_(pa.uint16())))}

    source = open_dataset(write_v21(tmp_path / "a", Foreign(lengths=LENGTHS, features={DEPTH: entry}, columns=columns)))
    np.testing.assert_allclose(source.read(0, DEPTH, [0]).value, metres)
