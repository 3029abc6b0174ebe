"""Episodes without any step are left out with one line, and the shortest are read like all others."""

import logging

import pytest
from tests.foreign import ACTION, FRONT, STATE, WRITERS, Foreign, read_picture, write_v21, write_v30

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.open import open_source


def names(source) -> list[tuple[int, int, int]]:
    """What the pictures of all episodes say."""
    lengths = [source.episode(i).length for i in range(len(source))]
    return [read_picture(image) for i, n in enumerate(lengths) for image in source.read(i, FRONT, range(n)).value]


@pytest.mark.parametrize("version", WRITERS)
def test_an_episode_without_steps_is_left_out_and_shifts_nothing(tmp_path, caplog, version):
    foreign = Foreign(lengths=(3, 0, 1, 0, 2), tasks={0: "a", 1: "b"}, task_of=lambda place, _: place % 2)
    root = WRITERS[version](tmp_path / "set", foreign)
    for empty in (1, 3):
        (root / f"data/chunk-000/episode_{empty:06d}.parquet").unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING):
        source = open_source(root)
    assert caplog.messages == [f"{root}: 2 of 5 episodes have no steps and are left out: 1, 3"]
    said = [(0, 0, 0), (0, 1, 0), (0, 2, 0), (2, 0, 0), (4, 0, 0), (4, 1, 0)]
    assert names(source) == said
    assert [source.read(i, STATE, [0]).value[0, 0].item() for i in range(3)] == [
        pytest.approx(foreign.state(index, 1)[0, 0]) for index in (0, 2, 4)
    ]
    inspected = inspect(root)
    assert (inspected["episodes"], inspected["frames"]) == (3, 6)
    convert(root, tmp_path / "new")
    assert names(open_source(tmp_path / "new")) == said


@pytest.mark.parametrize("version", WRITERS)
def test_windows_on_the_shortest_episodes(tmp_path, version):
    root = WRITERS[version](tmp_path / "set", Foreign(lengths=(1, 2)))
    one = sample_windows(root, 0, 0, [f"{FRONT}=-1,0,1", f"{ACTION}=0:3"])
    assert [read_picture(image) for image in one[FRONT]] == [(0, 0, 0)] * 3
    assert one[f"{FRONT}.valid"].tolist() == [False, True, False]
    assert one[f"{ACTION}.valid"].tolist() == [True, False, False]
    two = sample_windows(root, 1, 1, [f"{FRONT}=-1,0,1"])
    assert [read_picture(image) for image in two[FRONT]] == [(1, 0, 0), (1, 1, 0), (1, 1, 0)]


@pytest.mark.parametrize("lengths", [(0,), (0, 0)])
def test_a_dataset_without_any_step_is_refused(tmp_path, lengths):
    root = write_v21(tmp_path / "set", Foreign(lengths=lengths))
    with pytest.raises(DatasetError, match="set: holds no episode with any step; record some, or give another dataset"):
        inspect(root)


def test_a_dataset_without_any_episode_is_refused(tmp_path):
    root = write_v30(tmp_path / "set", Foreign(lengths=(1,), cameras=()))
    for folder in ("data", "meta/episodes"):
        (root / folder / "chunk-000/file-000.parquet").unlink()
    text = (root / "meta/info.json").read_text(encoding="utf-8")
    text = text.replace('"total_episodes": 1', '"total_episodes": 0').replace('"total_frames": 1', '"total_frames": 0')
    (root / "meta/info.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="holds no episode with any step"):
        open_source(root)
