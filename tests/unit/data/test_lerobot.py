"""The reader gives what LeRobot's own loader gives, on datasets that LeRobot wrote and on a real robot's recording."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.recordings import ACTION, FRONT, STATE, WRIST, record

from tempovla.data.layout import Feature
from tempovla.data.lerobot import LeRobotSource, open_dataset
from tempovla.data.window import gather
from tempovla.data.writer import image_column
from tempovla.timeline import EpisodeSource, Window
from tempovla.timeline.laws.source import check_shift

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "lerobot"
NAMES = ("v21_h264", "v21_av1", "v21_images", "v30_h264", "v30_av1", "v30_images", "v30_files")
LENGTHS = (7, 5, 6)
WINDOWS = {STATE: (-2, 0), ACTION: (0, 1, 2, 3), FRONT: (-1, 3), WRIST: (0,)}


def place(index: int) -> tuple[int, int]:
    """Episode and step of a sample's running number."""
    ends = np.cumsum(LENGTHS)
    episode = int(np.searchsorted(ends, index, side="right"))
    return episode, index - int(ends[episode]) + LENGTHS[episode]


@pytest.mark.parametrize("name", NAMES)
def test_windows_equal_those_of_lerobot(name: str) -> None:
    source = open_dataset(FIXTURES / name)
    expected = np.load(FIXTURES / f"{name}.npz")
    assert sum(source.episode(i).length for i in range(len(source))) == expected["length"]
    for row, index in enumerate(expected["index"].tolist()):
        episode, step = place(index)
        assert source.episode(episode).instruction == expected["task"][row]
        for key, offsets in WINDOWS.items():
            value, valid = gather(source, episode, step, Window(key, offsets))
            if source.streams[key].kind == "image":
                value = value[:, ::2, ::2].astype(int)  # as the expected images are kept
            np.testing.assert_array_equal(value, expected[f"value/{key}"][row], err_msg=f"{key} of sample {index}")
            np.testing.assert_array_equal(valid, expected[f"valid/{key}"][row])


@pytest.mark.parametrize("name", NAMES)
def test_statistics_equal_those_of_lerobot(name: str) -> None:
    expected = np.load(FIXTURES / f"{name}.npz")
    statistics = open_dataset(FIXTURES / name).statistics
    for key in WINDOWS:
        for entry, value in statistics[key].items():
            np.testing.assert_allclose(value, expected[f"stats/{key}/{entry}"], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_describe_the_recording(name: str) -> None:
    source = open_dataset(FIXTURES / name)
    assert isinstance(source, EpisodeSource)
    assert source.rate_hz == 10
    assert [source.episode(i).length for i in range(3)] == list(LENGTHS)
    assert source.streams[FRONT].shape == (64, 80, 3)
    assert source.streams[WRIST].shape == (68, 64, 3)
    assert source.embodiment.state_names == ("x", "y", "z")
    assert (source.embodiment.name, source.embodiment.state_dim, source.embodiment.action_dim) == ("toy", 3, 2)
    np.testing.assert_allclose(source.timestamps(1, FRONT), [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)


@pytest.mark.parametrize("name", ["v21_av1", "v30_h264", "v30_images", "v30_files"])
def test_windows_shift_with_time(name: str) -> None:
    source = open_dataset(FIXTURES / name)
    for key in (ACTION, FRONT):
        check_shift(source, Window(key, (-3, -1, 0, 2)), episodes=range(3))


@pytest.mark.parametrize("name", ["v30_av1", "v30_h264"])
def test_frames_are_the_same_in_any_order_of_access(name: str) -> None:
    in_order = open_dataset(FIXTURES / name).read(0, FRONT, range(7)).value
    source = open_dataset(FIXTURES / name, cache_bytes=0)
    for step in np.random.default_rng(0).integers(0, 7, 40).tolist():
        np.testing.assert_array_equal(source.read(0, FRONT, [step]).value[0], in_order[step])
    np.testing.assert_array_equal(source.read(0, FRONT, [5, 1, 5, 0]).value, in_order[[5, 1, 5, 0]])


def test_cache_keeps_to_its_budget_and_changes_no_value(tmp_path: Path) -> None:
    record(tmp_path / "set", (30, 30))
    whole, small = open_dataset(tmp_path / "set"), open_dataset(tmp_path / "set", cache_bytes=50_000)
    for episode in (0, 1, 0):
        np.testing.assert_array_equal(
            whole.read(episode, FRONT, range(30)).value, small.read(episode, FRONT, range(30)).value
        )
        assert small.cache.used_bytes <= 50_000
    frame_bytes = 32 * 48 * 3
    assert 60 * frame_bytes <= whole.cache.used_bytes < 60 * frame_bytes + 20_000


def test_jitter_of_recorded_timestamps_moves_no_frame(tmp_path: Path) -> None:
    record(tmp_path / "set", (12, 7))
    still = [open_dataset(tmp_path / "set").read(i, FRONT, range(7)).value for i in range(2)]
    path = tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    times_s = table.column("timestamp").to_numpy()
    moved = times_s + np.random.default_rng(0).uniform(-0.04, 0.04, len(times_s)) * (times_s > 0)
    at = table.schema.get_field_index("timestamp")
    pq.write_table(table.set_column(at, "timestamp", pa.array(moved.astype(np.float32))), path)
    for episode, expected in enumerate(still):
        np.testing.assert_array_equal(open_dataset(tmp_path / "set").read(episode, FRONT, range(7)).value, expected)


def test_grey_images_are_read_as_rgb(tmp_path: Path) -> None:
    features = {ACTION: Feature("float32", (2,)), WRIST: Feature("image", (16, 16, 3))}
    record(tmp_path / "set", (3,), features)
    path = tmp_path / "set" / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "png")
    images = image_column([buffer.getvalue()] * 3)
    pq.write_table(table.set_column(table.schema.get_field_index(WRIST), WRIST, images), path)
    info = tmp_path / "set" / "meta" / "info.json"
    content = json.loads(info.read_text())
    content["features"][WRIST]["shape"] = [16, 16, 1]
    info.write_text(json.dumps(content))
    np.testing.assert_array_equal(
        open_dataset(tmp_path / "set").read(0, WRIST, [1]).value[0], grey[..., None].repeat(3, axis=-1)
    )


def test_only_wanted_frames_are_decoded(tmp_path: Path) -> None:
    record(tmp_path / "set", (200,))
    source = open_dataset(tmp_path / "set")
    decoded = []
    video = source._videos._pool.get(source.meta.episodes[0].videos[FRONT].path)
    original = video._decoded

    def counted(*place):
        for frame in original(*place):
            decoded.append(frame.pts)
            yield frame

    video._decoded = counted
    source.read(0, FRONT, [150, 20, 99])
    assert len(decoded) <= 2 * 3  # with a key frame every second frame, at most one more for each


@pytest.fixture
def real(shared_dir: Path) -> tuple[LeRobotSource, LeRobotSource]:
    folder = shared_dir / "real_lerobot_sample"
    if not folder.is_dir():
        pytest.skip("the real recording is absent")
    return open_dataset(folder / "g1_yellow_bottle_v21"), open_dataset(folder / "g1_yellow_bottle_v30")


def test_both_versions_of_a_real_recording_are_the_same(real: tuple[LeRobotSource, LeRobotSource]) -> None:
    old, new = real
    camera = "observation.images.cam_high"
    assert [old.episode(i) for i in range(4)] == [new.episode(i) for i in range(4)]
    assert sum(old.episode(i).length for i in range(4)) == 1043
    for episode in range(4):
        length = old.episode(episode).length
        for key in (STATE, ACTION, "timestamp"):
            np.testing.assert_array_equal(
                old.read(episode, key, range(length)).value, new.read(episode, key, range(length)).value
            )
        steps = [-1, 0, 1, 77, length - 1, length]
        one, other = old.read(episode, camera, steps), new.read(episode, camera, steps)
        assert one.valid.tolist() == [False, True, True, True, True, False]
        np.testing.assert_array_equal(one.value, other.value)
        np.testing.assert_array_equal(one.valid, other.valid)
    for key in (STATE, ACTION, camera):
        for name, value in old.statistics[key].items():
            np.testing.assert_allclose(value, new.statistics[key][name], rtol=1e-12)
