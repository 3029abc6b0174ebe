"""Whatever is wrong with a dataset is told in one line, with the file, the key and the remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.recordings import ACTION, FRONT, STATE

from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.timeline import Window

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "lerobot"
DATA = {"v21": "data/chunk-000/episode_000001.parquet", "v30": "data/chunk-000/file-000.parquet"}
VIDEO = {
    "v21": f"videos/chunk-000/{FRONT}/episode_000001.mp4",
    "v30": f"videos/{FRONT}/chunk-000/file-000.mp4",
}


@pytest.fixture(params=["v21", "v30"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(version: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / f"{version}_h264", tmp_path / "set"))


def refused(root: Path, *needles: str, read: Callable[[Path], object] = inspect) -> None:
    with pytest.raises(DatasetError) as caught:
        read(root)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    for needle in needles:
        assert needle in message, message


def sample(root: Path) -> object:
    return sample_windows(root, 1, 2, [f"{ACTION}=0:2", f"{FRONT}=-1,0", f"{STATE}=0"])


def train(root: Path) -> object:
    return SampleLoader(Mixture([open_dataset(root)]), [Window(ACTION, (0, 1))], LoaderConfig(), seed=0)


def edit_info(root: Path, change: Callable[[dict], None]) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def replace_actions(path: Path, row: int, value: float) -> None:
    table = pq.read_table(path)
    rows = table.column(ACTION).to_pylist()
    rows[row][1] = value
    field = table.schema.field(ACTION)
    column = pa.array(rows, field.type)
    pq.write_table(table.set_column(table.schema.get_field_index(ACTION), field, column), path)


def test_folder_without_metadata(tmp_path: Path) -> None:
    refused(tmp_path, "not a LeRobot dataset", "meta/")
    refused(tmp_path / "nowhere", "no such file or folder")


def test_unknown_version(root: Path) -> None:
    edit_info(root, lambda info: info.update(codebase_version="v1.6"))
    refused(root, "info.json", "codebase_version 'v1.6'", "v2.1 and v3.0", "convert")


@pytest.mark.parametrize("key", ["fps", "features", "total_episodes", "data_path"])
def test_incomplete_info(root: Path, key: str) -> None:
    edit_info(root, lambda info: info.pop(key))
    refused(root, "info.json", repr(key), "missing")


def test_info_that_is_no_json(root: Path) -> None:
    cut(root / "meta" / "info.json", 0.5)
    refused(root, "info.json", "not readable as JSON")


def test_missing_episode_descriptions(root: Path, version: str) -> None:
    if version == "v21":
        (root / "meta" / "episodes.jsonl").unlink()
        refused(root, "episodes.jsonl", "missing")
    else:
        shutil.rmtree(root / "meta" / "episodes")
        refused(root, "info.json", "total_episodes is 3", "describes 0")


def test_missing_parquet(root: Path, version: str) -> None:
    (root / DATA[version]).unlink()
    for read in (inspect, sample, train):
        refused(root, DATA[version], "missing", "copy the dataset again", read=read)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_truncated_parquet(root: Path, version: str, share: float) -> None:
    cut(root / DATA[version], share)
    for read in (inspect, sample, train):
        refused(root, DATA[version], "no complete parquet file", "copy it again", read=read)


def test_damaged_parquet(root: Path, version: str) -> None:
    path = root / DATA[version]
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    refused(root, DATA[version], read=sample)


def test_missing_video(root: Path, version: str) -> None:
    (root / VIDEO[version]).unlink()
    for read in (inspect, sample) if version == "v21" else (sample,):  # nothing is left of the camera in v3.0
        refused(root, VIDEO[version], "missing", "copy the dataset again", read=read)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_truncated_video(root: Path, version: str, share: float) -> None:
    cut(root / VIDEO[version], share)
    for read in (inspect, sample):
        refused(root, VIDEO[version], "no complete video file", "copy it again", read=read)


def test_truncated_video_with_its_index_in_front(root: Path, version: str) -> None:
    """Such a file opens, and breaks only where its frames end."""
    path = root / VIDEO[version]
    with (
        av.open(str(path)) as source,
        av.open(str(path.with_name("fast.mp4")), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.with_name("fast.mp4").replace(path)
    sample(root)
    cut(path, 0.55)
    last = 4 if version == "v21" else 5
    with pytest.raises(DatasetError, match=r"mp4: .*(truncated|complete)"):
        sample_windows(root, 1 if version == "v21" else 2, last, [f"{FRONT}=0"])


def test_video_shorter_than_its_episode(root: Path, version: str) -> None:
    path = Path(shutil.copy(root / VIDEO[version], root / "whole.mp4"))
    with av.open(str(path)) as source, av.open(str(root / VIDEO[version]), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for count, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and count < 4:
                packet.stream = stream
                target.mux(packet)
    refused(root, VIDEO[version], "no frame at", "contradict each other")


def test_length_that_contradicts_the_rows(root: Path, version: str) -> None:
    path = root / DATA[version]
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)
    episode = 1 if version == "v21" else 2
    length = 5 if version == "v21" else 6
    for read in (inspect, train):
        refused(root, DATA[version], f"episode {episode} has {length - 1} rows", f"is {length}", read=read)


def test_total_frames_that_contradict_the_episodes(root: Path) -> None:
    edit_info(root, lambda info: info.update(total_frames=19))
    refused(root, "info.json", "total_frames is 19", "18 in all")


@pytest.mark.parametrize("fps", [5, 20])
def test_fps_that_contradicts_the_timestamps(root: Path, fps: int) -> None:
    edit_info(root, lambda info: info.update(fps=fps))
    for read in (inspect, sample, train):
        refused(root, f"fps {fps}", "timestamp", "info.json", read=read)


def test_shape_that_contradicts_the_column(root: Path) -> None:
    edit_info(root, lambda info: info["features"][ACTION].update(shape=[3]))
    for read in (inspect, sample, train):
        refused(root, ".parquet", repr(ACTION), "shape [3]", "info.json", read=read)


def test_size_that_contradicts_the_frames(root: Path) -> None:
    edit_info(root, lambda info: info["features"][FRONT].update(shape=[48, 80, 3]))
    for read in (inspect, sample):
        refused(root, ".mp4", "(64, 80)", "(48, 80)", repr(FRONT), read=read)


def test_feature_that_is_in_no_file(root: Path, version: str) -> None:
    edit_info(root, lambda info: info["features"].update(reward={"dtype": "float32", "shape": [1], "names": None}))
    refused(root, "data/chunk-000/", "has no column 'reward'", read=lambda r: sample_windows(r, 1, 0, ["reward=0"]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite(root: Path, version: str, value: float) -> None:
    row = 3 if version == "v21" else open_dataset(root).episode(0).length + 3
    replace_actions(root / DATA[version], row, value)
    for read in (inspect, sample, train):
        refused(root, DATA[version], repr(ACTION), f"{value} in row {row} (episode 1)", "repair", read=read)


def test_window_on_a_stream_that_does_not_exist(root: Path) -> None:
    refused(
        root,
        "no stream 'observation.image.front'",
        f"did you mean {FRONT}",
        read=lambda r: sample_windows(r, 0, 0, ["observation.image.front=0"]),
    )
    refused(root, "no stream 'zzz'", "it has action, ", read=lambda r: sample_windows(r, 0, 0, ["zzz=0"]))


def test_missing_statistics(root: Path, version: str) -> None:
    (root / "meta" / ("episodes_stats.jsonl" if version == "v21" else "stats.json")).unlink()
    source, expected = open_dataset(root), open_dataset(FIXTURES / f"{version}_h264").statistics
    np.testing.assert_allclose(source.statistics[ACTION]["mean"], expected[ACTION]["mean"], rtol=1e-6)
    kept = root / "meta" / "tempovla_stats.json"  # of v3.0, the description of each episode has them too
    assert kept.is_file() == (version == "v21")


def test_damaged_image(tmp_path: Path) -> None:
    root = Path(shutil.copytree(FIXTURES / "v30_images", tmp_path / "set"))
    path = root / DATA["v30"]
    table = pq.read_table(path)
    images = table.column(FRONT).to_pylist()
    images[2]["bytes"] = images[2]["bytes"][:50]
    images[3]["bytes"] = b"no image"
    images[4] = {"bytes": None, "path": "images/none.png"}
    field = table.schema.field(FRONT)
    pq.write_table(table.set_column(table.schema.get_field_index(FRONT), field, pa.array(images, field.type)), path)
    for frame in (2, 3):
        refused(
            root,
            f"{FRONT!r} row {frame}: damaged image",
            read=lambda r, frame=frame: sample_windows(r, 0, frame, [f"{FRONT}=0"]),
        )
    refused(root, "none.png: missing", "row 4", read=lambda r: sample_windows(r, 0, 4, [f"{FRONT}=0"]))
