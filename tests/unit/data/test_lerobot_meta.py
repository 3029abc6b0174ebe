"""Values of ``meta/`` in any lossless spelling are read; all others are refused in one line with their place."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.foreign import FRONT, STATE, Foreign, edit_json, read_picture, write_v21, write_v30

from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.open import open_source

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
FOREIGN = Foreign(lengths=(2, 3), cameras=())


def edit_episode(root, **values) -> None:
    """Change the entry of the second episode (v2.1)."""
    path = root / "meta/episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    lines[1] |= values
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")


def refused(root, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        open_source(root).read(0, STATE, [0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["v2.0", "2.0", "v2.1.0", " V2.1 ", 2.1])
def test_spellings_of_version_2(tmp_path, given):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_json(root / "meta/info.json", lambda info: info.update(codebase_version=given))
    source = open_source(root)
    assert (source.meta.version, len(source)) == ("v2.1", 2)


@pytest.mark.parametrize("given", ["v1.6", "v2.2", "v4.0", "latest", None, 3])
def test_other_versions_are_refused(tmp_path, given):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_json(root / "meta/info.json", lambda info: info.update(codebase_version=given))
    refused(root, rf"info.json: codebase_version {given!r}; v2.0, v2.1 and v3.0 are read, convert it with LeRobot")


@pytest.mark.parametrize(
    "values",
    [{"fps": "10"}, {"fps": 10.0}, {"total_episodes": "2"}, {"total_frames": 5.0}, {"chunks_size": "1000"}],
)
def test_numbers_of_the_dataset_may_be_written_otherwise(tmp_path, values):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_json(root / "meta/info.json", lambda info: info.update(values))
    source = open_source(root)
    assert (source.rate_hz, len(source), source.meta.info["fps"]) == (10.0, 2, 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fps": "fast"}, "info.json: fps is 'fast'; it must be a positive number"),
        ({"fps": True}, "fps is True"),
        ({"fps": None}, "fps is None"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": float("nan")}, r"not readable as JSON \(NaN is no JSON; write a number or null\)"),
        ({"total_episodes": None}, "total_episodes is None; it must be a whole number, at least 0"),
        ({"total_episodes": 3}, r"total_episodes is 3, but meta/ describes 2; correct it, or copy"),
        ({"total_frames": -1}, "total_frames is -1; it must be a whole number, at least 0"),
        ({"total_frames": 6}, "total_frames is 6, but the episodes have 5 in all; correct it, or copy"),
        ({"chunks_size": 0}, "chunks_size is 0; it must be a whole number, at least 1"),
        (
            {"data_path": "data/{shard}.parquet"},
            r"data_path is 'data/\{shard\}.parquet', which gives no path",
        ),
        ({"data_path": None}, "data_path is None, which gives no path"),
    ],
)
def test_what_is_no_such_number_is_refused(tmp_path, values, message):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_json(root / "meta/info.json", lambda info: info.update(values))
    refused(root, message)


@pytest.mark.parametrize("values", [{"length": "3"}, {"length": 3.0}, {"episode_index": "1"}])
def test_numbers_of_an_episode_may_be_written_otherwise(tmp_path, values):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_episode(root, **values)
    assert open_source(root).episode(1).length == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length": 2.5}, r"episodes.jsonl: line 2: length of episode 1 is 2.5; it must be a whole number, at least 0"),
        ({"length": -3}, "length of episode 1 is -3"),
        ({"length": None}, "length of episode 1 is None"),
        ({"length": True}, "length of episode 1 is True"),
        ({"length": [3]}, r"length of episode 1 is \[3\]"),
        ({"episode_index": None}, "line 2: episode_index is None"),
        ({"episode_index": 0}, "line 2: episode_index 0 is also that of line 1; remove one"),
        ({"tasks": {"a": 1}}, r"line 2: 'tasks' holds \{'a': 1\}; write a list of instructions there"),
    ],
)
def test_what_is_no_such_number_of_an_episode_is_refused(tmp_path, values, message):
    root = write_v21(tmp_path / "set", FOREIGN)
    edit_episode(root, **values)
    refused(root, message)


def test_an_episode_of_version_3_is_named_by_its_row(tmp_path):
    root = write_v30(tmp_path / "set", FOREIGN)
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("length")
    pq.write_table(table.set_column(place, "length", pa.array([2.0, None])), path)
    refused(root, r"file-000.parquet: row 1: length of episode 1 is None; it must be a whole number, at least 0")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_v21, "meta/info.json"),
        (write_v21, "meta/episodes.jsonl"),
        (write_v21, "meta/tasks.jsonl"),
        (write_v21, "data/chunk-000/episode_000000.parquet"),
        (write_v30, "meta/tasks.parquet"),
        (write_v30, "meta/episodes/chunk-000/file-000.parquet"),
    ],
)
def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path, write, name):
    root = write(tmp_path / "set", FOREIGN)
    (root / name).write_text(POINTER, encoding="utf-8")
    refused(root, rf"{name}: a git-lfs pointer, not the file itself; run `git lfs pull` in its folder")


def test_a_video_that_is_a_pointer_is_named_as_such(tmp_path):
    root = write_v21(tmp_path / "set", Foreign(lengths=(2,)))
    video = root / f"videos/chunk-000/{FRONT}/episode_000000.mp4"
    video.write_text(POINTER, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"episode_000000.mp4: a git-lfs pointer, not the file itself"):
        open_source(root).read(0, FRONT, [0])


def move_video(root, name, values) -> None:
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    key = f"videos/{FRONT}/{name}"
    pq.write_table(table.set_column(table.schema.names.index(key), key, pa.array(values)), path)


@pytest.mark.parametrize(
    ("name", "values"),
    [("chunk_index", [0.0, 0.0]), ("file_index", ["0", "0"]), ("from_timestamp", ["0.0", "0.6"])],
)
def test_the_place_of_a_video_may_be_written_otherwise(tmp_path, name, values):
    root = write_v30(tmp_path / "a", Foreign())
    move_video(root, name, values)
    source = open_source(root)
    assert read_picture(source.read(1, FRONT, [2]).value[0])[:2] == (1, 2)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("from_timestamp", [0.0, float("nan")], rf"row 1: videos/{FRONT}/from_timestamp is nan, not seconds"),
        ("from_timestamp", ["0.0", "soon"], rf"row 1: videos/{FRONT}/from_timestamp is 'soon', not seconds"),
        ("chunk_index", [-1, 0], rf"row 0: videos/{FRONT}/chunk_index is -1; it must be a whole number"),
    ],
)
def test_a_video_at_no_place_blocks_only_who_reads_it(tmp_path, name, values, message):
    root = write_v30(tmp_path / "a", Foreign())
    move_video(root, name, values)
    source = open_source(root)
    assert source.read(1, STATE, [2]).value.shape == (1, 3)
    for read in (lambda: source.read(0, FRONT, [0]), lambda: inspect(root)):
        with pytest.raises(DatasetError, match=message):
            read()


def test_starts_that_were_never_filled_in_are_refused(tmp_path):
    root = write_v30(tmp_path / "a", Foreign(lengths=(5, 5, 5)))
    move_video(root, "from_timestamp", [0.0, 0.0, 0.0])
    with pytest.raises(DatasetError, match=r"start of 3 episodes of 5 rows at 0\.0000 s.*correct from_timestamp"):
        inspect(root)


def test_one_video_for_all_episodes_of_version_2_is_refused(tmp_path):
    root = write_v21(tmp_path / "a", Foreign(lengths=(5, 5)))
    edit_json(root / "meta/info.json", lambda info: info.update(video_path="videos/{video_key}.mp4"))
    with pytest.raises(DatasetError, match=r"one file for several episodes; give each a file of its own"):
        inspect(root)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"task": ["open"], "__index_level_0__": [0]}, None),
        ({"task_index": [0], "__index_level_0__": ["open"]}, None),
        ({"task_index": [0], "__index_level_0__": [0], "instruction": ["open"]}, None),
        ({"task": ["open"]}, r"no column 'task_index' but task; name the one with the numbers 'task_index'"),
        ({"task_index": [0], "a": ["x"], "b": ["y"]}, r"no column 'task' but task_index, a, b; name the one"),
    ],
)
def test_tasks_of_version_3_with_an_index_of_pandas(tmp_path, table, message):
    root = write_v30(tmp_path / "a", Foreign(tasks_of_episode=lambda words: ["open"]))
    pq.write_table(pa.table(table), root / "meta/tasks.parquet")
    if message:
        refused(root, message)
    else:
        assert set(open_source(root).instructions(0)) == {"open"}


def test_hidden_files_of_macos_are_passed_by(tmp_path):
    root = write_v30(tmp_path / "a", Foreign())
    (root / "meta/episodes/chunk-000/._file-000.parquet").write_bytes(b"\0\5\x16\7")
    assert len(open_source(root)) == 2


@pytest.mark.parametrize("name", ["episodes.jsonl", "tasks.jsonl"])
def test_half_a_character_is_refused(tmp_path, name):
    root = write_v21(tmp_path / "a", Foreign())
    path = root / "meta" / name
    path.write_text(path.read_text().replace("the drawer", "the \\ud83d drawer"))
    refused(root, rf"{name}: line 1 holds half a character, in .*ud83d.*; write the whole one, or remove it")
    path.write_text(path.read_text().replace("\\ud83d", "\\ud83d\\ude00"))
    assert len(open_source(root)) == 2


def test_a_mark_of_the_byte_order_may_stand_between_lines(tmp_path):
    root = write_v21(tmp_path / "a", Foreign())
    path = root / "meta/episodes.jsonl"
    path.write_text("".join("\ufeff" + line for line in path.read_text().splitlines(keepends=True)), encoding="utf-8")
    assert len(open_source(root)) == 2


@pytest.mark.parametrize("name", ["info.json", "tasks.jsonl"])
def test_brackets_without_end_are_refused_in_one_line(tmp_path, name):
    root = write_v21(tmp_path / "a", Foreign())
    (root / "meta" / name).write_text('{"a":' * 100_000)
    refused(root, r"not readable as JSON \(nested more than 100 deep")
