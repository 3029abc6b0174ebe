"""Words are known without the rows where a dataset has but one task; rows that say otherwise are refused still."""

import pickle
from collections import Counter

import pyarrow as pa
import pytest
from tests.foreign import ACTION, STATE, WRITERS, Foreign, write_v21, write_v30

from tempovla.data import parquet
from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.lerobot import open_dataset
from tempovla.data.open import open_source
from tempovla.data.words import check_words, words_told

OPEN, PICK = "open the drawer", "pick up the cup"
MANY = {"cameras": (), "lengths": (3,) * 8}


@pytest.fixture
def opened(monkeypatch) -> Counter:
    """How often each data file was opened."""
    counts: Counter = Counter()
    own = parquet.open_parquet

    def counted(path):
        counts[path.name] += path.parent.parent.name == "data"
        return own(path)

    for module in ("parquet", "availability", "columns"):
        monkeypatch.setattr(f"tempovla.data.{module}.open_parquet", counted)
    return counts


def one_task(**options) -> Foreign:
    return Foreign(tasks={4: OPEN}, task_of=lambda *_: 4, **{**MANY, **options})


def with_rows(index: dict[int, list]) -> Foreign:
    """One task, but for the `task_index` of some episodes' rows."""
    foreign = one_task()
    foreign.columns = lambda usual, episode, length: (
        usual | ({"task_index": pa.array(index[episode], pa.int64())} if episode in index else {})
    )
    return foreign


@pytest.mark.parametrize("listed", [None, lambda words: words[0], lambda words: [4]])
def test_no_data_file_is_opened_for_the_only_task(tmp_path, opened, listed):
    foreign = one_task() if listed is None else one_task(tasks_of_episode=listed)
    source = open_source(write_v21(tmp_path / "a", foreign))
    check_words(source)
    assert words_told(source) == [OPEN]
    assert opened == {"episode_000000.parquet": 1, "episode_000007.parquet": 1}  # which columns there are
    source.read(3, STATE, [0])
    assert opened["episode_000003.parquet"] == 1
    assert source.instructions(3) == (OPEN,) * 3


@pytest.mark.parametrize("version", WRITERS)
def test_of_several_tasks_the_footers_tell_which_where_an_episode_has_one(tmp_path, opened, version, monkeypatch):
    monkeypatch.setattr("tempovla.data.columns.read_columns", None if version == "v2.1" else parquet.read_columns)
    foreign = Foreign(tasks={0: OPEN, 7: PICK}, task_of=lambda place, _: 7 if place % 3 else 0, **MANY)
    source = open_source(WRITERS[version](tmp_path / "a", foreign))
    assert [source.instructions(i) for i in range(4)] == [(OPEN,) * 3, (PICK,) * 3, (PICK,) * 3, (OPEN,) * 3]
    if version == "v2.1":
        assert opened == {f"episode_{i:06d}.parquet": 2 if i in (0, 7) else 1 for i in range(8)}


def test_each_small_file_is_read_once_to_be_looked_at(tmp_path, opened):
    root = write_v21(tmp_path / "a", one_task())
    assert inspect(root)["tasks"] == [OPEN]
    assert opened == {f"episode_{i:06d}.parquet": 2 if i in (0, 7) else 1 for i in range(8)}


def test_columns_of_a_large_file_are_looked_at_once_for_all_its_episodes(tmp_path, monkeypatch):
    reads: Counter = Counter()
    own = parquet.read_columns

    def counted(path, columns, row_groups=None):
        reads.update(columns)
        return own(path, columns, row_groups)

    monkeypatch.setattr("tempovla.data.columns.read_columns", counted)
    monkeypatch.setattr("tempovla.data.columns._SMALL_FILE", 0)
    source = open_dataset(write_v30(tmp_path / "a", one_task()), cache_bytes=0)
    assert source.check() == {}
    assert (reads[STATE], reads[ACTION], reads["index"], reads["task_index"]) == (1, 1, 1, 1)


@pytest.mark.parametrize("version", WRITERS)
def test_an_index_that_is_no_task_is_refused_when_it_is_read_or_looked_at(tmp_path, version):
    root = WRITERS[version](tmp_path / "a", with_rows({5: [4, 4, 1]}))
    row = 2 if version == "v2.1" else 17
    message = (
        rf"parquet: episode 5 row {row} has task_index 1, which is not in .*meta/tasks.* \(it has 4\); add its words"
    )
    source = open_source(root)
    check_words(source)
    assert source.read(4, STATE, [0]).valid.all()
    for copy in (source, source, pickle.loads(pickle.dumps(source)), source.with_cache(source.cache)):
        with pytest.raises(DatasetError, match=message) as caught:
            copy.read(5, STATE, [0])
        assert "\n" not in str(caught.value)
    for look in (inspect, lambda folder: convert(folder, tmp_path / "b")):
        with pytest.raises(DatasetError, match=message):
            look(root)


@pytest.mark.parametrize("version", WRITERS)
def test_a_row_without_an_index_is_refused_when_its_words_were_used(tmp_path, version):
    root = WRITERS[version](tmp_path / "a", with_rows({5: [4, None, 4]}))
    source = open_source(root)
    assert source.read(5, STATE, [0]).valid.all()  # by somebody who was told nothing
    assert source.instructions(5) == (OPEN, "", OPEN)
    with pytest.raises(DatasetError, match="a: episode 5 has no instruction at step 1"):
        check_words(source)
    source = open_source(root)
    check_words(source)
    message = (
        r"parquet: episode 5 has no instruction at step 1 \(its task_index is null\); .* --data.default_instruction"
    )
    for _ in range(2):
        with pytest.raises(DatasetError, match=message) as caught:
            source.read(5, STATE, [0])
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match=r"episode 5 has no instruction at step 1 \(''; 1 of 8 episodes have such"):
        inspect(root)
    source = open_source(root, default_instruction="do it")
    assert source.instructions(5) == (OPEN, "do it", OPEN)
    assert source.read(5, STATE, [0]).valid.all()


@pytest.mark.parametrize("version", WRITERS)
def test_rows_are_asked_where_the_episode_lists_something_else(tmp_path, version, caplog):
    source = open_source(WRITERS[version](tmp_path / "a", one_task(tasks_of_episode=lambda words: [PICK])))
    assert source.instructions(1) == (OPEN,) * 3
    assert "has the instruction 'open the drawer' by its task_index, but meta/ lists only the tasks" in caplog.text
