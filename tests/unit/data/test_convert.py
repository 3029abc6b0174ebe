"""A v2.1 dataset converted to v3.0 holds the same, and its videos are not encoded again."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.foreign import WRITERS, Foreign, edit_json, encode_video, read_picture, write_v21, write_v30
from tests.recordings import ACTION, FRONT, STATE, WRIST, episode

from tempovla.data import video_encode
from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import open_dataset

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "lerobot"


@pytest.mark.parametrize("name", ["v21_h264", "v21_av1", "v21_images"])
def test_converted_dataset_equals_its_source(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(video_encode, "encode")  # nothing may be encoded again
    assert convert(FIXTURES / name, tmp_path / "new") == 3
    old, new = open_dataset(FIXTURES / name), open_dataset(tmp_path / "new")
    new.check()
    assert new.meta.version == "v3.0"
    assert new.meta.tasks == old.meta.tasks
    assert new.embodiment == old.embodiment
    assert new.streams == old.streams
    for index in range(3):
        assert new.episode(index) == old.episode(index)
        for key in old.streams:
            steps = range(old.episode(index).length)
            np.testing.assert_array_equal(new.read(index, key, steps).value, old.read(index, key, steps).value)
    for key in (STATE, ACTION, FRONT, WRIST):
        for entry in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(new.statistics[key][entry], old.statistics[key][entry], rtol=1e-5, atol=1e-6)
    assert len(list((tmp_path / "new").glob("videos/*/*/*.mp4"))) == (0 if name == "v21_images" else 2)


def test_video_with_more_frames_than_its_episode_is_encoded_again(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v21_h264", tmp_path / "old")
    frames = episode(0, 9)[FRONT].repeat(2, axis=1)[:, :, :40].repeat(2, axis=2)
    path = tmp_path / "old" / "videos" / "chunk-000" / FRONT / "episode_000000.mp4"
    path.write_bytes(video_encode.encode(frames, 10, video_encode.VideoConfig()))
    convert(tmp_path / "old", tmp_path / "new")
    old, new = open_dataset(tmp_path / "old"), open_dataset(tmp_path / "new")
    for index in range(3):
        steps = range(old.episode(index).length)
        one, other = (source.read(index, FRONT, steps).value.astype(int) for source in (old, new))
        assert np.abs(one - other).mean() < 4


def test_what_is_v30_already_is_copied_whole(tmp_path: Path) -> None:
    assert convert(FIXTURES / "v30_h264", tmp_path / "new") == 3
    files = {path.relative_to(FIXTURES / "v30_h264") for path in (FIXTURES / "v30_h264").rglob("*.*")}
    assert {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*.*")} == files
    old, new = open_dataset(FIXTURES / "v30_h264"), open_dataset(tmp_path / "new")
    assert np.array_equal(old.read(1, FRONT, range(4)).value, new.read(1, FRONT, range(4)).value)


def test_a_damaged_v30_dataset_is_not_copied(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v30_h264", tmp_path / "old")
    next((tmp_path / "old" / "videos").rglob("*.mp4")).write_bytes(b"no video")
    with pytest.raises(DatasetError, match="mp4"):
        convert(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("source", ["v21_images", "v30_images"])
def test_nothing_is_overwritten(source: str, tmp_path: Path) -> None:
    convert(FIXTURES / "v21_images", tmp_path / "new")
    with pytest.raises(DatasetError, match="nothing is overwritten"):
        convert(FIXTURES / source, tmp_path / "new")


def test_a_copy_of_statistics_that_are_not_the_rows_is_refused(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "old", Foreign())
    edit_json(root / "meta/stats.json", lambda stats: stats["action"].update(mean=[1000.0, 0.0], std=[0.001, 1.0]))
    with pytest.raises(DatasetError, match=r"do not fit the data: .* `tempovla data stats .* --recompute`"):
        convert(root, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("version", WRITERS)
def test_the_source_stays_byte_for_byte_whatever_happens(tmp_path: Path, version: str) -> None:
    root = WRITERS[version](tmp_path / "old", Foreign(lengths=(3, 2)))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for target in (root, root / "inside", tmp_path):
        with pytest.raises(DatasetError, match="stays as it is; give another folder"):
            convert(root, target)
    convert(root, tmp_path / "new")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize(("container_format", "codec"), [("matroska", "libx264"), ("gif", "gif")])
def test_videos_that_mp4_cannot_take_as_they_are_lose_no_frame(
    tmp_path: Path, container_format: str, codec: str
) -> None:
    """Matroska tells no decoding times of frames that are shown in another order; mp4 knows no GIF."""
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    options = {"bf": "2"} if codec == "libx264" else {"gifflags": "0"}
    encode = partial(encode_video, codec=codec, pix_fmt=pix_fmt, container_format=container_format, options=options)
    write_v21(tmp_path / "old", Foreign(lengths=(7, 5), encode=encode))
    convert(tmp_path / "old", tmp_path / "new")
    new = open_dataset(tmp_path / "new")
    new.check()
    key = "observation.images.front"
    for index, length in enumerate((7, 5)):
        told = [read_picture(image)[:2] for image in new.read(index, key, range(length)).value]
        assert told == [(index, step) for step in range(length)]


def test_what_lies_beside_a_dataset_does_not_keep_it_from_being_copied(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "old", Foreign())
    (root / "notes").symlink_to(tmp_path / "nowhere")
    (root / "data" / "itself").symlink_to(root)
    convert(root, tmp_path / "new")
    assert not (tmp_path / "new" / "data" / "itself").exists()
    open_dataset(tmp_path / "new").check()
    os.mkfifo(root / "pipe")
    with pytest.raises(DatasetError, match=r"old/pipe: could not be copied \(.*named pipe.*\); nothing is left behind"):
        convert(root, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_target_of_too_long_a_name_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"could not be written .*too long.*give another folder"):
        convert(write_v30(tmp_path / "old", Foreign()), tmp_path / ("x" * 250))


def test_statistics_of_a_camera_that_only_some_episodes_have_are_computed_for_all(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "old", Foreign(lengths=(4, 3)))
    path = root / "meta/episodes_stats.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["stats"][FRONT]["mean"] = "much"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert convert(root, tmp_path / "new") == 2
    assert open_dataset(tmp_path / "new").statistics[FRONT]["count"].tolist() == [7]
