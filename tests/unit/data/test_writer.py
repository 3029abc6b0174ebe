"""What is written is read back, episodes are never overwritten, and bad episodes are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.recordings import ACTION, FEATURES, FPS, FRONT, STATE, WRIST, episode, record

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.layout import Feature
from tempovla.data.lerobot import open_dataset
from tempovla.data.memory import preload
from tempovla.data.video_encode import VideoConfig
from tempovla.data.writer import DatasetWriter, WriterConfig, infer_features


def assert_equal_to(root: Path, episodes: list[dict[str, np.ndarray]], close: float = 4.0) -> None:
    source = open_dataset(root)
    assert [source.episode(i).length for i in range(len(source))] == [len(e[ACTION]) for e in episodes]
    for i, frames in enumerate(episodes):
        for key, expected in frames.items():
            value, valid = source.read(i, key, range(len(expected)))
            assert valid.all()
            if source.meta.features[key].dtype == "video":
                assert np.abs(value.astype(int) - expected).mean() < close
            else:
                np.testing.assert_array_equal(value, expected)


def test_episodes_are_read_back_as_written(tmp_path: Path) -> None:
    episodes = record(tmp_path / "set")
    assert_equal_to(tmp_path / "set", episodes)


def test_dataset_is_complete_before_close_and_videos_are_joined_after(tmp_path: Path) -> None:
    episodes = [episode(i, 8) for i in range(3)]
    writer = DatasetWriter(tmp_path, FEATURES, FPS)
    for i, frames in enumerate(episodes):
        assert writer.add_episode(frames, "go") == i
        assert_equal_to(tmp_path, episodes[: i + 1])
    assert len(list(tmp_path.glob("videos/*/*/*.mp4"))) == 3
    writer.close()
    assert len(list(tmp_path.glob("videos/*/*/*.mp4"))) == 1
    assert not (tmp_path / ".writing").exists()
    assert_equal_to(tmp_path, episodes)


def test_joining_changes_no_pixel(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, FEATURES, FPS)
    for i in range(3):
        writer.add_episode(episode(i, 8), "go")
    before = [open_dataset(tmp_path).read(i, FRONT, range(8)).value for i in range(3)]
    writer.close()
    after = [open_dataset(tmp_path).read(i, FRONT, range(8)).value for i in range(3)]
    np.testing.assert_array_equal(before, after)


def test_files_are_closed_at_their_size_limits(tmp_path: Path) -> None:
    features = {ACTION: Feature("float32", (2_000,)), FRONT: Feature("video", (64, 64, 3))}
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 1), dtype=np.uint8).repeat(3, axis=-1)
    config = WriterConfig(data_files_size_in_mb=1, video_files_size_in_mb=1, video=VideoConfig(crf=1))
    episodes = [{ACTION: episode(i, 30, {ACTION: features[ACTION]})[ACTION], FRONT: noise} for i in range(14)]
    with DatasetWriter(tmp_path, features, FPS, config=config) as writer:
        for frames in episodes:
            writer.add_episode(frames, "go")
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        sizes = [path.stat().st_size for path in tmp_path.glob(pattern)]
        assert 1 < len(sizes) < len(episodes)
        assert max(sizes) <= 1.01 * (1 << 20)
        assert sum(sizes) / len(sizes) > 1 << 19  # full files, not one an episode
    assert_equal_to(tmp_path, episodes, close=10)


def test_av1_and_odd_sizes_are_written(tmp_path: Path) -> None:
    features = {ACTION: FEATURES[ACTION], FRONT: Feature("video", (64, 64, 3)), WRIST: Feature("video", (33, 47, 3))}
    config = WriterConfig(video=VideoConfig(codec="libsvtav1", preset="10", crf=30))
    episodes = record(tmp_path / "av1", (6, 5), {ACTION: features[ACTION], FRONT: features[FRONT]}, config)
    assert_equal_to(tmp_path / "av1", episodes, close=6)
    assert open_dataset(tmp_path / "av1").meta.info["features"][FRONT]["info"]["video.codec"] == "av1"
    assert_equal_to(tmp_path / "odd", record(tmp_path / "odd", (6, 5), features))


def test_matrices_booleans_and_integers_keep_type_and_shape(tmp_path: Path) -> None:
    frames = {
        "observation.pose": np.arange(5 * 16, dtype=np.float64).reshape(5, 4, 4),
        "next.done": np.array([False, False, False, False, True]),
        "observation.count": np.arange(5),
        ACTION: np.ones((5, 2), np.float32),
    }
    features = infer_features(frames)
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.add_episode(frames, "go")
    source = open_dataset(tmp_path)
    np.testing.assert_array_equal(source.read(0, "observation.pose", range(5)).value, frames["observation.pose"])
    assert source.read(0, "next.done", (3, 4)).value.tolist() == [[False], [True]]
    assert source.read(0, "observation.count", (3, 4)).value.tolist() == [[3], [4]]


def test_writer_does_not_overwrite(tmp_path: Path) -> None:
    record(tmp_path / "set")
    with pytest.raises(DatasetError, match="nothing is overwritten"):
        DatasetWriter(tmp_path / "set", FEATURES, FPS)


def test_resuming_appends(tmp_path: Path) -> None:
    episodes = record(tmp_path / "set")
    more = [episode(i, 5) for i in (3, 4)]
    for frames in more:
        with DatasetWriter(tmp_path / "set", FEATURES, FPS, resume=True) as writer:
            writer.add_episode(frames, "another task")
    assert_equal_to(tmp_path / "set", episodes + more)
    source = open_dataset(tmp_path / "set")
    assert source.episode(4).instruction == "another task"
    whole = np.concatenate([e[STATE] for e in episodes + more]).astype(np.float64)
    np.testing.assert_allclose(source.statistics[STATE]["mean"], whole.mean(axis=0))
    np.testing.assert_allclose(source.statistics[STATE]["std"], whole.std(axis=0))


def test_resuming_removes_nothing_along_a_link_to_elsewhere(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", FEATURES, FPS) as writer:
        writer.add_episode(episode(0, 3), "push")
    other = tmp_path / "other"
    other.mkdir()
    (other / "file-007.mp4").write_bytes(b"precious")
    key = next(key for key, feature in FEATURES.items() if feature.dtype == "video")
    (tmp_path / "set" / "videos" / key / "chunk-007").symlink_to(other)
    with pytest.raises(ValueError, match=r"chunk-007.*: a link that leads out of"):
        DatasetWriter(tmp_path / "set", FEATURES, FPS, resume=True)
    assert (other / "file-007.mp4").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("fps", "features", "message"),
    [
        (FPS + 1, FEATURES, "recorded at 10 fps, not 11"),
        (FPS, FEATURES | {ACTION: Feature("float32", (5,))}, "'action' is"),
    ],
)
def test_resuming_with_another_layout_is_refused(
    tmp_path: Path, fps: float, features: dict[str, Feature], message: str
) -> None:
    record(tmp_path / "set")
    with pytest.raises(DatasetError, match=message):
        DatasetWriter(tmp_path / "set", features, fps, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({ACTION: np.full((12, 2), np.nan, np.float32)}, "'action' is not finite at step 0"),
        ({ACTION: np.zeros((12, 3), np.float32)}, r"'action' has shape \[12, 3\], not \[12, 2\]"),
        ({FRONT: np.zeros((12, 32, 48, 3), np.float32)}, "give uint8 RGB"),
        ({"extra": np.zeros((12, 1))}, "'extra' is in the episode or in the features"),
        ({ACTION: np.full((12, 2), 2**24 + 1)}, "'action' holds 16777217, which is no float32, at step 0"),
        ({ACTION: np.full((12, 2), 1e300)}, r"'action' holds 1e\+300, which is no float32, at step 0"),
        ({ACTION: [[0.0, 0.0]] * 12}, "'action' is of type list; give a numpy array"),
        ({key: np.zeros((0, *feature.shape)) for key, feature in FEATURES.items()}, "the episode has no step"),
    ],
)
def test_bad_episodes_are_refused_and_leave_no_trace(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    writer = DatasetWriter(tmp_path, FEATURES, FPS)
    writer.add_episode(episode(0), "go")
    with pytest.raises(DatasetError, match=message):
        writer.add_episode(episode(1) | change, "go")
    writer.add_episode(episode(1), "go")
    writer.close()
    assert_equal_to(tmp_path, [episode(0), episode(1)])


@pytest.mark.parametrize("words", [None, 7, b"go", ["go"] * 11 + [None], "half \ud83d", "x" * 10**6])
def test_instructions_that_no_reader_takes_are_refused_before_anything_is_written(tmp_path: Path, words) -> None:
    with DatasetWriter(tmp_path, FEATURES, FPS) as writer:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DatasetError, match="instruction"):
            writer.add_episode(episode(0), words)
        assert sorted(tmp_path.rglob("*")) == before
        assert len(writer) == 0


def test_a_dataset_that_no_reader_opens_is_not_begun(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for fps in (0, -1, float("nan")):
        with pytest.raises(DatasetError, match=f"set: fps is {fps}; it must be a positive number"):
            DatasetWriter(root, FEATURES, fps)
    times = infer_features({"since": np.zeros((5, 2), "M8[s]")})
    with pytest.raises(DatasetError, match=r"set declares 'since' with dtype 'datetime64\[s\]', which no stream holds"):
        DatasetWriter(root, times, FPS)
    with pytest.raises(DatasetError, match="'since' is of type list; give a numpy array"):
        infer_features({"since": [0.0]})
    assert not root.exists()


def test_statistics_cover_every_feature(tmp_path: Path) -> None:
    episodes = record(tmp_path / "set", (40, 30))
    stats = json.loads((tmp_path / "set" / "meta" / "stats.json").read_text())
    assert set(stats) == {*FEATURES, "timestamp", "frame_index", "episode_index", "index", "task_index"}
    assert set(stats[ACTION]) == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    assert stats[ACTION]["count"] == [70]
    images = np.concatenate([e[FRONT] for e in episodes]) / 255.0
    np.testing.assert_allclose(np.squeeze(stats[FRONT]["mean"]), images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.squeeze(stats[FRONT]["std"]), images.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.squeeze(stats[FRONT]["max"]), images.max(axis=(0, 1, 2)))


def test_how_the_pictures_were_made_is_kept_and_nothing_else_is_added_to_them(tmp_path: Path) -> None:
    fast = {"simulator": "libero", "rendering": "fast", "image_size": 128}
    with DatasetWriter(tmp_path / "set", FEATURES, FPS, recording=fast) as writer:
        writer.add_episode(episode(0), "task")
    source = open_dataset(tmp_path / "set")
    assert source.recording == fast
    assert preload(source, [ACTION], 1 << 20).recording == fast
    with DatasetWriter(tmp_path / "set", FEATURES, FPS, recording=fast, resume=True) as writer:
        writer.add_episode(episode(1), "task")
    with pytest.raises(DatasetError, match=r'recorded with .*"fast".*, not .*"exact".*; use another folder'):
        DatasetWriter(tmp_path / "set", FEATURES, FPS, recording=fast | {"rendering": "exact"}, resume=True)
    convert(tmp_path / "set", tmp_path / "copy")
    assert open_dataset(tmp_path / "copy").recording == fast
    (tmp_path / "copy" / "meta" / "recording.json").write_text("{")
    with pytest.raises(DatasetError, match=r"recording\.json: not readable as JSON"):
        _ = open_dataset(tmp_path / "copy").recording


def test_where_nobody_says_how_pictures_were_made_nothing_is_said(tmp_path: Path) -> None:
    record(tmp_path / "set", (4,))
    assert open_dataset(tmp_path / "set").recording == {}
    assert not (tmp_path / "set" / "meta" / "recording.json").exists()
