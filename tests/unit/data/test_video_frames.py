"""Pictures of a dataset's rows: those of the row, or a refusal that names file, episode, camera and remedy."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.foreign import FRONT, WRITERS, Foreign, encode_video, read_picture, write_v21, write_v30

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import LeRobotSource, open_dataset

HEVC = partial(
    encode_video,
    codec="libx265",
    options={"crf": "30", "x265-params": "log-level=none:pools=none:frame-threads=1"},
)
B_FRAMES = partial(encode_video, gop=12, options={"bf": "3"})


def told(source: LeRobotSource, episode: int, steps: Sequence[int]) -> list[tuple[int, int]]:
    """Episode and step that the pictures tell."""
    return [read_picture(image)[:2] for image in source.read(episode, FRONT, steps).value]


def assert_all_right(root: Path, lengths: Sequence[int]) -> None:
    source = open_dataset(root, cache_bytes=0)
    source.check()
    rows = [(episode, step) for episode, length in enumerate(lengths) for step in range(length)]
    order = np.random.default_rng(0).permutation(len(rows))
    assert [told(source, *[rows[i][0], [rows[i][1]]])[0] for i in order] == [rows[i] for i in order]


def refusal(root: Path, episode: int = 0) -> str:
    """What reading and checking both say."""
    source = open_dataset(root)
    with pytest.raises(DatasetError) as read:
        source.read(episode, FRONT, [0])
    with pytest.raises(DatasetError) as checked:
        open_dataset(root).check()
    assert str(read.value) == str(checked.value)
    assert "\n" not in str(read.value)
    return str(read.value)


@pytest.mark.parametrize("encode", [HEVC, B_FRAMES])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_reordered_videos_give_each_row_its_picture_in_any_order(tmp_path: Path, version: str, encode: Any) -> None:
    WRITERS[version](tmp_path / "set", Foreign(lengths=(14, 1, 9), encode=encode))
    assert_all_right(tmp_path / "set", (14, 1, 9))


def test_a_batch_of_many_episodes_is_right(tmp_path: Path) -> None:
    source = open_dataset(write_v30(tmp_path / "set", Foreign(lengths=(14, 6, 9), encode=HEVC)))
    episodes, steps = np.array([2, 0, 2, 1]), np.array([[8, 3], [13, 0], [3, -1], [7, 5]])
    images, valid = source.read_many(FRONT, episodes, steps)
    assert [[read_picture(image)[:2] for image in row] for row in images] == [
        [(2, 8), (2, 3)],
        [(0, 13), (0, 0)],
        [(2, 3), (2, 0)],
        [(1, 5), (1, 5)],
    ]
    assert valid.tolist() == [[True, True], [True, True], [True, False], [False, True]]


@pytest.mark.parametrize("drift_s", [1e-3, -1e-3, 4e-3, -4e-3])
def test_drift_of_less_than_half_a_frame_moves_none(tmp_path: Path, drift_s: float) -> None:
    lengths = (6, 5, 4, 7)
    write_v30(tmp_path / "set", Foreign(lengths=lengths, fps=30, drift_s=drift_s))
    assert_all_right(tmp_path / "set", lengths)


@pytest.mark.parametrize("drift_s", [0.012, -0.012, 1 / 30, -1 / 30, 0.1])
def test_more_drift_never_gives_a_neighbours_frame(tmp_path: Path, drift_s: float) -> None:
    lengths = (6, 5, 4, 7)
    source = open_dataset(write_v30(tmp_path / "set", Foreign(lengths=lengths, fps=30, drift_s=drift_s)))
    refused = []
    for episode, length in enumerate(lengths):
        try:
            assert told(source, episode, range(length)) == [(episode, step) for step in range(length)]
        except DatasetError as error:
            refused.append((episode, str(error)))
    assert len(refused) >= 2
    for episode, text in refused:
        assert f"file-000.mp4: episode {episode}, {FRONT!r}: meta/ puts " in text
        assert text.endswith("correct from_timestamp")


@pytest.mark.parametrize(("declared", "actual"), [(30.0, 29.97), (29.97, 30.0), (29.97, 30000 / 1001)])
def test_rates_that_differ_a_little_shift_no_frame(tmp_path: Path, declared: float, actual: float) -> None:
    def encode(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, frames, actual)

    for write in WRITERS.values():
        source = open_dataset(write(tmp_path / "set", Foreign(lengths=(600, 8), fps=declared, encode=encode)))
        source.check()
        assert told(source, 0, [0, 300, 599]) == [(0, 0), (0, 300), (0, 599)]
        assert told(source, 1, [0, 7]) == [(1, 0), (1, 7)]


def test_half_the_rate_is_refused(tmp_path: Path) -> None:
    def encode(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, frames[::2], fps / 2)

    text = refusal(write_v21(tmp_path / "set", Foreign(lengths=(12,), encode=encode)))
    assert f"episode_000000.mp4: episode 0, {FRONT!r}: no frame at 0.100 s for row 1 (the file has 6 frames" in text


def test_another_rate_with_the_right_number_of_frames_is_refused(tmp_path: Path) -> None:
    def encode(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, frames, 1.5 * fps)

    text = refusal(write_v21(tmp_path / "set", Foreign(lengths=(12,), encode=encode)))
    assert text.endswith(
        "frame 1 is shown 0.0667 s after its first frame, but row 1 lies 0.1000 s after its first row at fps 10; "
        "encode the video again at that rate"
    )


@pytest.mark.parametrize("container_options", [{"use_editlist": "0"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_video_that_starts_late_is_read_from_its_first_frame(
    tmp_path: Path, version: str, container_options: dict[str, str]
) -> None:
    encode = partial(B_FRAMES, container_options=container_options)
    WRITERS[version](tmp_path / "set", Foreign(lengths=(9, 5), encode=encode))
    assert_all_right(tmp_path / "set", (9, 5))


def test_frames_as_uneven_as_their_rows_are_found_by_their_times(tmp_path: Path) -> None:
    times_s = (np.arange(12) + np.r_[0, np.random.default_rng(0).uniform(-0.45, 0.45, 11)]) / 10

    def encode(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, [*frames, frames[-1]], fps, times_s=[*times_s, times_s[-1] + 0.1], options={"bf": "2"})

    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {"timestamp": times_s.astype(np.float32)}

    write_v21(tmp_path / "set", Foreign(lengths=(12,), encode=encode, columns=columns))
    assert_all_right(tmp_path / "set", (12,))


@pytest.mark.parametrize("first_s", [0.1, 5.0, 1.7e9])
def test_rows_that_do_not_start_at_0_have_the_frames_of_their_own_video(tmp_path: Path, first_s: float) -> None:
    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        return usual | {"timestamp": first_s + np.arange(length) / 10}

    timestamp = {"timestamp": {"dtype": "float64", "shape": [1], "names": None}}
    foreign = Foreign(lengths=(6, 5), columns=columns, features=timestamp)
    write_v21(tmp_path / "set", foreign)
    assert_all_right(tmp_path / "set", (6, 5))

    def longer(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, [*frames, frames[-1]], fps)

    foreign.encode = longer
    text = refusal(write_v21(tmp_path / "set", foreign))
    assert f"first row has timestamp {first_s:.4f} s and the file has 7 frames for 6 rows" in text


def test_longer_videos_are_harmless_and_shorter_ones_named(tmp_path: Path) -> None:
    def longer(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, [*frames, frames[-1]], fps)

    def shorter(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
        encode_video(path, frames[:-1], fps)

    write_v21(tmp_path / "set", Foreign(encode=longer))
    assert_all_right(tmp_path / "set", (6, 5))
    text = refusal(write_v21(tmp_path / "set", Foreign(encode=shorter)))
    assert f"{FRONT!r}: no frame at 0.500 s for row 5 (the file has 5 frames, the nearest at 0.400 s" in text


def test_frames_are_found_once_and_their_files_need_not_stay_open(tmp_path: Path) -> None:
    lengths = (3,) * 20
    source = open_dataset(write_v21(tmp_path / "set", Foreign(lengths=lengths, encode=B_FRAMES)))
    for episode in (*range(16), *range(16)):
        assert told(source, episode, [2, 0]) == [(episode, 2), (episode, 0)]
    assert source._videos._numbers == {(FRONT, episode): 0 for episode in range(16)}
