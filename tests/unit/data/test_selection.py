"""Fewer demonstrations a task, and shorter ones, of either format."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.libero_recordings import AGENT, MILK, SOUP, episode, instruction
from tests.libero_recordings import record as record_libero
from tests.recordings import ACTION, FRONT, STATE, record

from tempovla.data.errors import DatasetError, OutOfRangeError
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.libero_hdf5 import LiberoHdf5Source
from tempovla.data.libero_writer import LiberoHdf5Writer
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.statistics import of_values
from tempovla.timeline import EpisodeInfo, Window

LENGTHS = (12, 7, 9, 8, 3)


def make(root: Path, kind: str) -> list[dict[str, np.ndarray]]:
    """Five episodes of two tasks in turn, in the order in which they are read."""
    return record(root, LENGTHS) if kind == "lerobot" else record_libero(root, LENGTHS)


@pytest.fixture(params=["lerobot", "libero"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_without_limits_the_source_itself_is_given(tmp_path: Path, kind: str) -> None:
    make(tmp_path, kind)
    whole = open_source(tmp_path)
    assert isinstance(whole, LeRobotSource if kind == "lerobot" else LiberoHdf5Source)
    assert type(open_source(tmp_path, demos_per_task=50, max_len_data=260)) is type(whole)
    assert len(whole) == 5


def test_the_first_demonstrations_of_every_task_are_used(tmp_path: Path, kind: str) -> None:
    recorded = make(tmp_path, kind)
    whole, fewer = open_source(tmp_path), open_source(tmp_path, demos_per_task=1)
    indices = [0, 1] if kind == "lerobot" else [0, 3]
    assert [fewer.episode(i) for i in range(len(fewer))] == [whole.episode(i) for i in indices]
    for index, original in enumerate(indices):
        steps = range(len(recorded[original][ACTION]))
        np.testing.assert_array_equal(fewer.read(index, ACTION, steps).value, recorded[original][ACTION])
    with pytest.raises(OutOfRangeError, match="no episode 2 in the selection of 2"):
        fewer.read(2, ACTION, [0])


def test_scenes_with_the_same_words_are_tasks_of_their_own(tmp_path: Path) -> None:
    """As in LIBERO-90, where 27 of the tasks share 12 instructions."""
    scenes = ("KITCHEN_SCENE3_turn_on_the_stove", "KITCHEN_SCENE9_turn_on_the_stove")
    with LiberoHdf5Writer(tmp_path) as writer:
        for index in range(4):
            writer.add_episode(scenes[index % 2], "turn on the stove", episode(index, 4 + index))
    fewer = open_source(tmp_path, demos_per_task=1, max_len_data=4)
    assert [fewer.episode(i) for i in range(len(fewer))] == [EpisodeInfo(4, "turn on the stove", s) for s in scenes]


@pytest.mark.parametrize("named", [("monday", "tuesday", SOUP), ("tuesday",), ()])
def test_files_of_one_task_count_together_whatever_they_are_called(tmp_path: Path, named: tuple[str, ...]) -> None:
    for number, name in enumerate(("monday", SOUP, "tuesday")):
        record_libero(tmp_path / name, (4 + number, 5), (SOUP,))
        path = next((tmp_path / name).iterdir()).rename(tmp_path / f"{name}_demo.hdf5")
        if name not in named:
            with h5py.File(path, "a") as file:
                del file["data"].attrs["bddl_file_name"]
    record_libero(tmp_path / "milk", (9,), (MILK,))
    next((tmp_path / "milk").iterdir()).rename(tmp_path / "wednesday.hdf5")
    fewer = open_source(tmp_path, demos_per_task=3)
    episodes = [fewer.episode(i) for i in range(len(fewer))]
    assert [(e.instruction, e.length) for e in episodes] == [
        (instruction(SOUP), 4),
        (instruction(SOUP), 5),
        (instruction(SOUP), 5),
        (instruction(MILK), 9),
    ]
    assert [e.task for e in episodes] == [SOUP if "monday" in named else ""] * 2 + [SOUP if SOUP in named else "", MILK]


def test_unnamed_demonstrations_are_of_no_scene_where_several_share_the_words(tmp_path: Path) -> None:
    names = ("KITCHEN_SCENE3_turn_on_the_stove", "KITCHEN_SCENE9_turn_on_the_stove", "turn_on_the_stove")
    with LiberoHdf5Writer(tmp_path) as writer:
        for index in range(6):
            writer.add_episode(names[index % 3], "turn on the stove", episode(index, 4))
    fewer = open_source(tmp_path, demos_per_task=1)
    assert [fewer.episode(i).task for i in range(len(fewer))] == [*names[:2], ""]


def test_episodes_are_cut_and_beyond_the_cut_nothing_is_valid(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorded = make(tmp_path, kind)
    with caplog.at_level(logging.WARNING):
        source = open_source(tmp_path, max_len_data=8)
    assert caplog.messages == [f"{tmp_path}: max_len_data 8 cuts the ends of 2 of 5 episodes, 5 of 39 steps"]
    assert sorted(source.episode(i).length for i in range(5)) == [3, 7, 8, 8, 8]
    value, valid = source.read(0, ACTION, [-1, 0, 7, 8, 11])
    assert valid.tolist() == [False, True, True, False, False]
    np.testing.assert_array_equal(value, recorded[0][ACTION][[0, 0, 7, 7, 7]])
    camera = FRONT if kind == "lerobot" else AGENT
    assert source.read(0, camera, [7, 8]).valid.tolist() == [True, False]
    np.testing.assert_allclose(source.timestamps(0, ACTION), np.arange(8) / source.rate_hz)


def test_statistics_are_those_of_what_is_used(tmp_path: Path, kind: str) -> None:
    recorded = make(tmp_path, kind)
    source = open_source(tmp_path, max_len_data=5)
    expected = of_values(np.concatenate([frames[STATE][:5] for frames in recorded]))
    for name in ("mean", "std", "min", "max", "q01", "count"):
        np.testing.assert_allclose(source.statistics[STATE][name], expected[name], rtol=1e-6)


def test_loaders_see_the_same_with_workers_and_preloaded(tmp_path: Path, kind: str) -> None:
    make(tmp_path, kind)
    source = open_source(tmp_path, demos_per_task=2, max_len_data=8)
    camera = FRONT if kind == "lerobot" else AGENT
    windows = [Window(camera, (-1, 0)), Window(ACTION, (0, 1, 2))]
    runs = []
    for workers, preload_bytes in ((0, 0), (2, 0), (0, 1 << 30)):
        config = LoaderConfig(8, workers, preload_bytes)
        runs.append(list(SampleLoader(Mixture([source]), windows, config, seed=1, epochs=1)))
    assert sum(len(batch.seed) for batch in runs[0]) == sum(source.episode(i).length for i in range(4))
    for run in runs[1:]:
        for a, b in zip(runs[0], run, strict=True):
            assert (a.context.now[camera].value == b.context.now[camera].value).all()
            assert (a.future[ACTION].valid == b.future[ACTION].valid).all()


@pytest.mark.parametrize("limits", [{"demos_per_task": 0}, {"max_len_data": -1}])
def test_limits_must_be_positive(tmp_path: Path, kind: str, limits: dict[str, int]) -> None:
    make(tmp_path, kind)
    with pytest.raises(DatasetError, match=f"{next(iter(limits))} is .* must be positive"):
        open_source(tmp_path, **limits)


def test_a_single_file_is_opened(tmp_path: Path) -> None:
    record_libero(tmp_path, LENGTHS)
    source = open_source(tmp_path / f"{MILK}_demo.hdf5", demos_per_task=1)
    assert [source.episode(i).instruction for i in range(len(source))] == [instruction(MILK)]
    assert len(open_source(tmp_path / f"{SOUP}_demo.hdf5")) == 3


@pytest.mark.parametrize("limit", [1.5, "2", True, 0, -1])
def test_a_limit_is_a_positive_whole_number(tmp_path: Path, limit: object) -> None:
    record(tmp_path, (3, 2))
    for name in ("demos_per_task", "max_len_data"):
        with pytest.raises(DatasetError, match=rf"{name} is {limit!r}; it must be positive and a whole number"):
            open_source(tmp_path, **{name: limit})


def test_keys_that_were_not_parsed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"keys is 'state'; give what StreamKeys\.parse"):
        open_source(tmp_path, keys="state")  # type: ignore[arg-type]
