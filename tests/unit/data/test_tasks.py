"""The words of a row are those of its own `task_index`, whatever else a dataset says."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.foreign import STATE, WRITERS, Foreign, write_jsonl, write_v21, write_v30

from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.loader import collate
from tempovla.data.memory import MemoryEpisode, MemorySource, preload
from tempovla.data.mixture import Mixture
from tempovla.data.open import open_source
from tempovla.data.sampler import SampleBatch
from tempovla.data.selection import select
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.timeline import Embodiment, Window

PICK, PUT = "pick up the cup", "put it on the shelf"
CAMERALESS = {"cameras": (), "lengths": (6, 5)}


def subtasks(place: int, length: int) -> np.ndarray:
    """Two rows of the first task, then the second; the second episode the other way round."""
    return np.where(np.arange(length) < 2, place, 1 - place)


def told(source) -> list[tuple[str, ...]]:
    """The words of every row of every episode."""
    return [tuple(source.instructions(episode)) for episode in range(len(source))]


def expected(first: str, then: str, length: int) -> tuple[str, ...]:
    return (first,) * 2 + (then,) * (length - 2)


@pytest.mark.parametrize("version", WRITERS)
def test_words_change_within_an_episode(tmp_path, version):
    foreign = Foreign(tasks={3: PICK, 0: "never done"} | {7: PUT}, **CAMERALESS)
    foreign.task_of = lambda place, length: np.array([3, 7])[subtasks(place, length)]
    source = open_source(WRITERS[version](tmp_path / "set", foreign))
    words = [expected(PICK, PUT, 6), expected(PUT, PICK, 5)]
    assert told(source) == words
    assert [source.episode(i).instruction for i in range(2)] == [PICK, PUT]
    assert told(select(source, max_len_data=3)) == [expected(PICK, PUT, 3), expected(PUT, PICK, 3)]
    assert told(preload(source, [STATE], 1 << 20)) == words
    assert inspect(tmp_path / "set")["tasks"] == [PICK, PUT]
    convert(tmp_path / "set", tmp_path / "new")
    assert told(open_source(tmp_path / "new")) == words


def test_a_sample_is_told_what_holds_now_wherever_its_window_reaches(tmp_path):
    foreign = Foreign(tasks={0: PICK, 1: PUT}, task_of=subtasks, **CAMERALESS)
    mixture = Mixture([open_source(write_v30(tmp_path / "set", foreign))])
    index = np.arange(11)[::-1].copy()
    batch = SampleBatch(np.zeros_like(index), index, torch.zeros(11, dtype=torch.int64))
    context = collate(mixture, [Window(STATE, (-3, -2, -1, 0, 1))], batch).context
    words = expected(PICK, PUT, 6) + expected(PUT, PICK, 5)
    assert [task.instruction for task in context.task] == list(words[::-1])


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize(
    "listed",
    [lambda words: words[0], lambda words: 5, lambda words: [5], lambda words: ["valid", *words], lambda words: []],
)
def test_what_an_episode_lists_never_becomes_an_instruction(tmp_path, version, listed):
    foreign = Foreign(tasks={5: PICK, 6: "valid"}, task_of=lambda *_: 5, tasks_of_episode=listed, **CAMERALESS)
    source = open_source(WRITERS[version](tmp_path / "set", foreign))
    assert told(source) == [(PICK,) * 6, (PICK,) * 5]


@pytest.mark.parametrize("listed", [lambda words: None, lambda words: [None], lambda words: ""])
def test_an_episode_may_list_nothing(tmp_path, listed):
    foreign = Foreign(tasks_of_episode=listed, **CAMERALESS)
    assert told(open_source(write_v21(tmp_path / "set", foreign)))[0] == ("open the drawer",) * 6


def test_an_index_that_stands_for_nothing_is_refused_with_its_row(tmp_path):
    foreign = Foreign(tasks={0: PICK, 2: PUT}, **CAMERALESS)
    root = write_v30(tmp_path / "set", foreign)
    set_index(root / "data/chunk-000/file-000.parquet", [0] * 8 + [1] * 3)
    message = r"file-000.parquet: episode 1 row 8 has task_index 1, which is not in .*tasks.parquet \(it has 0, 2\)"
    with pytest.raises(DatasetError, match=message) as error:
        told(open_source(root))
    assert "\n" not in str(error.value)


def set_index(path: Path, index: list[int]) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index("task_index")
    pq.write_table(table.set_column(place, "task_index", pa.array(index, pa.int64())), path)


def without_index(usual: dict, index: int, length: int) -> dict:
    return {key: column for key, column in usual.items() if key != "task_index"}


@pytest.mark.parametrize("version", WRITERS)
def test_rows_without_an_index_carry_out_the_only_task_of_their_episode(tmp_path, version):
    foreign = Foreign(tasks={4: PICK}, task_of=lambda *_: 4, columns=without_index, **CAMERALESS)
    foreign.features = {"task_index": None}
    root = WRITERS[version](tmp_path / "set", foreign)
    assert told(open_source(root))[1] == (PICK,) * 5
    foreign.tasks_of_episode = lambda words: [4]
    assert told(open_source(WRITERS[version](root, foreign)))[1] == (PICK,) * 5
    foreign.tasks_of_episode = lambda words: [PICK, "valid"]
    with pytest.raises(DatasetError, match=r"episode 0 names 2 tasks, .* but has no column task_index"):
        told(open_source(WRITERS[version](root, foreign)))
    foreign.tasks_of_episode = lambda words: []
    assert told(open_source(WRITERS[version](root, foreign)))[1] == ("",) * 5


def test_without_a_tasks_file_the_only_task_of_an_episode_counts(tmp_path):
    root = write_v21(tmp_path / "set", Foreign(tasks={0: PICK, 1: PUT}, task_of=lambda place, _: place, **CAMERALESS))
    (root / "meta/tasks.jsonl").unlink()
    assert told(open_source(root)) == [(PICK,) * 6, (PUT,) * 5]
    write_v21(root, Foreign(tasks={0: PICK, 1: PUT}, task_of=subtasks, **CAMERALESS))
    (root / "meta/tasks.jsonl").unlink()
    with pytest.raises(
        DatasetError, match=r"tasks.jsonl: missing, though .* has several task_index in episode 0, \[0, 1\]"
    ):
        told(open_source(root))


def test_a_row_without_an_index_has_no_words(tmp_path):
    def columns(usual, index, length):
        return usual | {"task_index": pa.array([None, *[0.0] * (length - 1)], pa.float64())}

    foreign = Foreign(columns=columns, tasks={0: "open the drawer", 1: "valid"}, **CAMERALESS)
    source = open_source(write_v21(tmp_path / "set", foreign))
    assert source.instructions(1) == ("", *["open the drawer"] * 4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [(0, PICK), (0, PUT)],
            r"jsonl: task_index 0 stands for 'pick up the cup' and for 'put it on the shelf'",
        ),
        ([(0.5, PICK)], r"entry 1 has task_index 0.5; write a whole number"),
        ([(0, PICK), (True, PUT)], r"entry 2 has task_index True"),
        ([(0, ["a", "b"])], r"task 0 is \['a', 'b'\], not text"),
    ],
)
def test_a_tasks_file_that_contradicts_itself_is_refused(tmp_path, lines, message):
    root = write_v21(tmp_path / "set", Foreign(**CAMERALESS))
    write_jsonl(root / "meta/tasks.jsonl", [{"task_index": index, "task": words} for index, words in lines])
    with pytest.raises(DatasetError, match=message) as error:
        open_source(root)
    assert "\n" not in str(error.value)


def test_the_same_task_twice_and_numbers_as_text_are_read(tmp_path):
    root = write_v21(tmp_path / "set", Foreign(task_of=lambda *_: 12, tasks={12: PICK}, **CAMERALESS))
    lines = [{"task_index": index, "task": PICK} for index in (12, "12", 12.0)]
    write_jsonl(root / "meta/tasks.jsonl", lines)
    assert open_source(root).meta.tasks == {12: PICK}


@pytest.mark.parametrize("name", ["task", "__index_level_0__", "words"])
def test_words_are_found_in_any_column_of_the_tasks_table(tmp_path, name):
    root = write_v30(tmp_path / "set", Foreign(tasks={2: PICK, 1: PUT}, task_of=lambda *_: 1, **CAMERALESS))
    columns = {name: pa.array([PICK, PUT]), "task_index": pa.array([2, 1])}
    if name != "words":
        columns = {"category": pa.array(["a", "b"]), **columns, "difficulty": pa.array([1.0, 2.0])}
    pq.write_table(pa.table(columns), root / "meta/tasks.parquet")
    assert told(open_source(root))[0] == (PUT,) * 6


def test_rows_that_contradict_their_episode_are_followed_and_told(tmp_path, caplog):
    root = write_v21(tmp_path / "set", Foreign(tasks={0: PICK, 1: PUT}, tasks_of_episode=lambda _: [PUT], **CAMERALESS))
    with caplog.at_level(logging.WARNING):
        assert told(open_source(root))[0] == (PICK,) * 6
    assert (
        "has the instruction 'pick up the cup' by its task_index, but meta/ lists only the tasks "
        "['put it on the shelf']" in caplog.text
    )


def test_demos_per_task_counts_the_words_of_the_rows(tmp_path):
    kinds = [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]]
    foreign = Foreign(tasks={0: PICK, 1: PUT}, task_of=lambda place, _: kinds[place], lengths=(3,) * 5, cameras=())
    fewer = select(open_source(write_v30(tmp_path / "set", foreign)), demos_per_task=1)
    assert told(fewer) == [(PICK,) * 3, (PICK, PICK, PUT), (PUT,) * 3]


def test_episodes_in_memory_may_have_words_for_every_step():
    episodes = [MemoryEpisode((PICK, PUT), 2, {}), MemoryEpisode(PICK, 1, {})]
    source = MemorySource("toy", Embodiment("toy", 0, 0, 10.0), {}, episodes)
    assert told(source) == [(PICK, PUT), (PICK,)]
    with pytest.raises(DatasetError, match="toy: 1 instructions for an episode of 2 steps"):
        MemorySource("toy", Embodiment("toy", 0, 0, 10.0), {}, [MemoryEpisode((PICK,), 2, {})])


def test_a_resumed_dataset_keeps_the_indices_of_its_tasks(tmp_path):
    root, frames = tmp_path / "set", {STATE: np.zeros((4, 3), dtype=np.float32)}
    with DatasetWriter(root, infer_features(frames), 10) as writer:
        writer.add_episode(frames, [PICK, PICK, PUT, PUT])
    set_index(root / "data/chunk-000/file-000.parquet", [9, 9, 5, 5])
    table = {"task_index": pa.array([9, 5], pa.int64()), "task": pa.array([PICK, PUT])}
    pq.write_table(pa.table(table), root / "meta/tasks.parquet")
    with DatasetWriter(root, infer_features(frames), 10, resume=True) as writer:
        writer.add_episode(frames, ["close it", "close it", PUT, PUT])
    source = open_source(root)
    assert source.meta.tasks == {9: PICK, 5: PUT, 10: "close it"}
    assert told(source) == [(PICK, PICK, PUT, PUT), ("close it", "close it", PUT, PUT)]
