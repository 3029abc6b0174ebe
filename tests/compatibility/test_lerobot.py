"""LeRobot's own package reads what our writer wrote, and computes the same statistics.

Needs ``TEMPOVLA_LEROBOT_PYTHON``, the interpreter of an environment with lerobot >= 0.4 (v3.0); skips without it.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.compatibility.lerobot_side import episode
from tests.compatibility.make_fixtures import DATA, call, recipe

from tempovla.data.convert import convert
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.video_encode import VideoConfig
from tempovla.data.window import gather
from tempovla.data.writer import DatasetWriter, WriterConfig
from tempovla.timeline import Window

LENGTHS = [7, 5, 6]
WINDOWS = {
    "observation.state": (-2, 0),
    "action": (0, 1, 2, 3),
    "observation.images.front": (-1, 0, 3),
    "observation.images.wrist": (0,),
}
KINDS = {
    "h264": ("video", WriterConfig()),
    "av1": ("video", WriterConfig(video=VideoConfig(codec="libsvtav1", preset="10", crf=30))),
    "images": ("image", WriterConfig()),
    "files": ("video", WriterConfig(data_files_size_in_mb=0, video_files_size_in_mb=0)),
}


@pytest.fixture(scope="session")
def lerobot_python() -> str:
    python = os.environ.get("TEMPOVLA_LEROBOT_PYTHON")
    if not python:
        pytest.skip("TEMPOVLA_LEROBOT_PYTHON is not set: no environment with LeRobot's own package")
    return python


@cache
def decoders(lerobot_python: str) -> frozenset[str]:
    """The decoders of videos that LeRobot's package has there."""
    script = "from importlib.util import find_spec; print('pyav', 'torchcodec' if find_spec('torchcodec') else '')"
    found = subprocess.run([lerobot_python, "-c", script], check=True, capture_output=True, text=True)
    return frozenset(found.stdout.split())


def write(root: Path, kind: str) -> None:
    """A dataset from our side: by the writer, closed or as a kill leaves it, resumed, or converted."""
    if kind.startswith("converted"):
        convert(DATA / f"v21_{kind.removeprefix('converted ')}", root)
        return
    dtype, config = KINDS.get(kind, KINDS["h264"])
    declared = recipe(dtype=dtype)["features"]
    features = {key: Feature(f["dtype"], tuple(f["shape"]), tuple(f["names"])) for key, f in declared.items()}
    writer = DatasetWriter(root, features, 10, robot_type="toy", config=config)
    for index, length in enumerate(LENGTHS):
        if kind == "resumed":
            del writer  # as a kill leaves it: the folder is free, and nothing was closed
            writer = DatasetWriter(root, features, 10, config=config, resume=True)
        writer.add_episode(episode(index, length, declared), f"task {index % 2}")
    if kind not in ("unclosed", "resumed"):
        writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "torchcodec"])
@pytest.mark.parametrize("kind", [*KINDS, "unclosed", "resumed", "converted h264", "converted av1", "converted images"])
def test_lerobot_reads_frames_windows_and_statistics(
    lerobot_python: str, tmp_path: Path, kind: str, backend: str
) -> None:
    if backend not in decoders(lerobot_python):
        pytest.skip(f"{backend} is not installed beside LeRobot's own package")
    root = tmp_path / "set"
    write(root, kind)
    windows = {key: [offset / 10 for offset in offsets] for key, offsets in WINDOWS.items()}
    query = tmp_path / "query.json"
    query.write_text(json.dumps({"indices": None, "windows": windows, "backend": backend}))
    call(lerobot_python, "read", root, query, tmp_path / "read.npz")
    theirs = np.load(tmp_path / "read.npz")
    source = open_dataset(root)
    assert theirs["length"] == sum(LENGTHS)
    row = 0
    for index, length in enumerate(LENGTHS):
        for step in range(length):
            assert theirs["task"][row] == source.episode(index).instruction
            for key, offsets in WINDOWS.items():
                value, valid = gather(source, index, step, Window(key, offsets))
                # The two libraries round differently on the way from YUV to RGB.
                tolerance = 2 if backend == "torchcodec" and source.streams[key].kind == "image" else 0
                np.testing.assert_allclose(value.astype(float), theirs[f"value/{key}"][row], rtol=0, atol=tolerance)
                np.testing.assert_array_equal(valid, theirs[f"valid/{key}"][row])
            row += 1
    for key in WINDOWS:
        for name, value in source.statistics[key].items():
            np.testing.assert_allclose(value, theirs[f"stats/{key}/{name}"], rtol=1e-12)


@pytest.mark.slow
def test_statistics_are_those_that_lerobot_computes_of_the_same_recording(lerobot_python: str, tmp_path: Path) -> None:
    write(tmp_path / "ours", "images")
    wanted = tmp_path / "recipe.json"
    wanted.write_text(json.dumps(recipe(dtype="image")))
    call(lerobot_python, "write", tmp_path / "theirs", wanted)
    ours, theirs = (json.loads((tmp_path / name / "meta" / "stats.json").read_text()) for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for key, entry in theirs.items():
        assert ours[key].keys() == entry.keys()
        for name, value in entry.items():
            assert np.shape(ours[key][name]) == np.shape(value), (key, name)
            if name == "std" and "images" in key:
                continue  # lerobot 0.4.4 squares bytes as bytes there, which overflows
            is_quantile = name.startswith("q")
            spread = np.max(np.subtract(entry["max"], entry["min"]))
            # They read quantiles off a histogram, to the next of few values; means and deviations are in float32.
            np.testing.assert_allclose(
                ours[key][name], value, rtol=1e-5, atol=0.2 * spread if is_quantile else 1e-6, err_msg=f"{key} {name}"
            )
