"""Columns are read as they are declared, however they are stored; what is not as declared is refused with its row."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.foreign import ACTION, FRONT, SIDE, STATE, Foreign, edit_json, read_picture, write_v21, write_v30
from tests.stored_columns import EXTRA, LENGTHS, Storage, rewrite, structs, told, with_column

from tempovla.data.columns import Columns
from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError, UnknownStreamError
from tempovla.data.inspection import inspect, sample_windows
from tempovla.data.lerobot import open_dataset
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.stream_keys import StreamKeys
from tempovla.timeline import Window

BAD: dict[str, tuple[dict[str, Any], Callable[[int], Any], str]] = {
    "null": ({"dtype": "float32", "shape": [3]}, lambda step: None if step == 1 else [1.0] * 3, "holds null in row 1"),
    "ragged": ({"dtype": "float32", "shape": [3]}, lambda step: [1.0] * (3 - step % 2), "a list of 2, others hold 3"),
    "wraps": ({"dtype": "uint8", "shape": [1]}, lambda step: 300, "holds 300, which is no uint8"),
    "nan": ({"dtype": "float32", "shape": [1]}, lambda step: float("nan"), "nan in row 0"),
    "infinity": ({"dtype": "float64", "shape": [1]}, lambda step: float("-inf"), "-inf in row 0"),
    "other shape": (
        {"dtype": "float32", "shape": [4]},
        lambda step: [1.0] * 3,
        r"shape \[3\], but .* declares .* \[4\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_as_declared_matters_to_those_who_read_it(tmp_path: Path, name: str) -> None:
    """Nobody else notices; inspect warns, and convert keeps it."""
    entry, row, message = BAD[name]

    def column(index: int, length: int) -> pa.Array:
        return pa.array([row(step if index == 1 else 0) for step in range(length)])

    root = write_v21(tmp_path / "old", with_column(EXTRA, entry, column))
    assert len(inspect(root)["features"][EXTRA]["warnings"]) == 1
    mixture = Mixture([open_dataset(root)])
    batch = next(iter(SampleLoader(mixture, [Window(ACTION, (0,)), Window(FRONT, (0,))], LoaderConfig(), seed=0)))
    assert batch.future[ACTION].valid.all()
    convert(root, tmp_path / "new")
    kept = inspect(tmp_path / "new")["features"][EXTRA]["warnings"]
    assert re.search(message.removesuffix("in row 0").removesuffix("in row 1"), kept[0])
    with pytest.raises(DatasetError, match=rf"episode_000001.parquet: .*'{EXTRA}' .*{message}") as caught:
        sample_windows(root, 1, 0, [f"{EXTRA}=0"])
    assert "\n" not in str(caught.value)
    for key in (STATE, ACTION) if name != "wraps" else ():  # these two are floats
        write_v21(root, with_column(key, entry, column))
        for read in (inspect, lambda folder: convert(folder, tmp_path / "newer")):
            with pytest.raises(DatasetError, match=message):
                read(root)
        assert not (tmp_path / "newer").exists()


def test_a_bad_row_is_named_with_its_episode(tmp_path: Path) -> None:
    def column(index: int, length: int) -> pa.Array:
        return pa.array([None if (index, step) == (1, 1) else 7 for step in range(length)])

    root = write_v30(tmp_path / "set", with_column(EXTRA, {"dtype": "int64", "shape": [1]}, column))
    with pytest.raises(DatasetError, match=rf"file-000.parquet: column '{EXTRA}' holds null in row 4 \(episode 1\)"):
        sample_windows(root, 1, 0, [f"{EXTRA}=0"])


BROKEN_ROW: dict[str, tuple[Any, str]] = {
    "nan": (
        [1.0, float("nan"), 3.0],
        r": '{key}' has nan in row 4 \(episode 1\) \(1 such row\); remove those episodes",
    ),
    "null": (None, r": column '{key}' holds null in row 4 \(episode 1\), but meta/info.json declares float32"),
    "ragged": ([1.0, 2.0], r": column '{key}' holds a list of 2, others hold 3 in row 4 \(episode 1\), but"),
    "beyond": ([1.0, 1e39, 3.0], r": column '{key}' holds 1e\+39, which is no float32 in row 4 \(episode 1\), but"),
}


@pytest.mark.parametrize("name", BROKEN_ROW)
@pytest.mark.parametrize("key", [STATE, EXTRA])
def test_a_broken_row_is_refused_with_its_episode_and_no_other_of_the_file(tmp_path: Path, name: str, key: str) -> None:
    broken, message = BROKEN_ROW[name]

    def column(index: int, length: int) -> pa.Array:
        rows = foreign.state(index, length).astype(np.float64).tolist()
        return pa.array([broken if (index, step) == (1, 1) else row for step, row in enumerate(rows)])

    foreign = with_column(key, {"dtype": "float32", "shape": [3]}, column, statistics=False)
    foreign.lengths = (3, 2, 4)
    source = open_dataset(write_v30(tmp_path / "set", foreign))
    for index in (2, 0):
        np.testing.assert_array_equal(
            source.read(index, key, range(3)).value, foreign.state(index, foreign.lengths[index])[:3]
        )
    message = "file-000.parquet" + message.format(key=key)
    for _ in range(2):
        with pytest.raises(DatasetError, match=message) as caught:
            source.read(1, key, [0])
        assert "\n" not in str(caught.value)
    if key == STATE:
        with pytest.raises(DatasetError, match=message):
            inspect(tmp_path / "set")
    else:
        assert re.search(message, inspect(tmp_path / "set")["features"][key]["warnings"][0])


def test_a_time_that_is_null_is_refused_in_its_episode_alone(tmp_path: Path) -> None:
    def column(index: int, length: int) -> pa.Array:
        return pa.array([None if (index, step) == (1, 1) else step / 10 for step in range(length)], pa.float32())

    source = open_dataset(write_v30(tmp_path / "set", with_column("timestamp", None, column)))
    np.testing.assert_allclose(source.timestamps(0, STATE), [0.0, 0.1, 0.2], rtol=1e-6)
    declared = "but meta/info.json declares float32 of shape"
    with pytest.raises(DatasetError, match=rf"column 'timestamp' holds null in row 4 \(episode 1\), {declared}"):
        source.read(1, STATE, [0])


@pytest.mark.parametrize("shape", [[], [1]])
@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.int32()), pa.list_(pa.float64(), 1), pa.bool_()])
def test_an_action_of_one_is_a_vector_of_floats(tmp_path: Path, shape: list[int], kind: pa.DataType) -> None:
    entry = {"dtype": "bool" if kind == pa.bool_() else "int64", "shape": shape}

    def column(index: int, length: int) -> pa.Array:
        values: list[Any] = [(index + step) % 2 for step in range(length)]
        if kind == pa.bool_():
            values = [bool(value) for value in values]
        return pa.array([[value] for value in values] if pa.types.is_nested(kind) else values, kind)

    root = write_v21(tmp_path / "old", with_column(ACTION, entry, column, action_dim=1))
    convert(root, tmp_path / "new")
    for folder in (root, tmp_path / "new"):
        actions = sample_windows(folder, 1, 0, [f"{ACTION}=0,1"])[ACTION]
        assert (actions.dtype, actions.tolist()) == (np.float32, [[1.0], [0.0]])


def test_times_keep_the_precision_in_which_they_are_stored(tmp_path: Path) -> None:
    foreign = Foreign(
        lengths=LENGTHS,
        columns=lambda usual, index, length: usual | {"timestamp": pa.array(1.7e9 + np.arange(length) / 10)},
    )
    source = open_dataset(write_v21(tmp_path / "set", foreign))
    np.testing.assert_allclose(np.diff(source.timestamps(0, ACTION)), 0.1, rtol=1e-5)
    assert source.read(0, ACTION, [2]).valid.all()


UNREAD: dict[str, tuple[dict[str, Any] | None, Storage | None, str]] = {
    "text": ({"dtype": "string", "shape": [1]}, lambda index, length: pa.array(["pick"] * length), "as text"),
    "list": ({"dtype": "list", "shape": [1]}, lambda index, length: pa.array([["a"]] * length), "with dtype 'list'"),
    "audio": ({"dtype": "audio", "shape": [1]}, lambda index, length: pa.array([b"x"] * length), "with dtype 'audio'"),
    "struct": (
        {"dtype": "float32", "shape": [2]},
        lambda index, length: pa.array([{"x": 1.0, "y": 2.0}] * length),
        "declared as float32, but its column holds struct",
    ),
    "text in numbers": (
        {"dtype": "float32", "shape": [1]},
        lambda index, length: pa.array(["1"] * length),
        "its column holds string",
    ),
    "4 channels": (
        {"dtype": "image", "shape": [SIDE, SIDE, 4]},
        structs(mode="RGBA"),
        r"camera 'observation.extra' the shape \[64, 64, 4\]",
    ),
    "no column": ({"dtype": "float32", "shape": [1]}, None, "has no column 'observation.extra'"),
    "no shape": ({"dtype": "video", "shape": None}, None, "the shape None"),
    "no video": ({"dtype": "video", "shape": [SIDE, SIDE, 3]}, None, "all of its videos are missing"),
    "depth in a video of unknown levels": (
        {"dtype": "video", "shape": [SIDE, SIDE, 1], "info": {"is_depth_map": True}},
        None,
        "as depth in a video",
    ),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_left_out_with_a_line(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry, column, reason = UNREAD[name]
    foreign = Foreign(lengths=LENGTHS, features={EXTRA: entry}) if column is None else with_column(EXTRA, entry, column)
    root = write_v21(tmp_path / "old", foreign)
    with caplog.at_level("INFO", "tempovla"):
        facts = inspect(root)
    lines = [record.message for record in caplog.records if "left out" in record.message]
    assert lines[0].startswith(f"{root}: 1 of its columns are left out: {EXTRA} (")
    assert EXTRA not in facts["features"]
    with pytest.raises(UnknownStreamError, match=rf"old: stream '{EXTRA}' is left out: .*{reason}") as caught:
        sample_windows(root, 0, 0, [f"{EXTRA}=0"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownStreamError, match="is left out"):
        SampleLoader(Mixture([open_dataset(root)]), [Window(EXTRA, (0,))], LoaderConfig(), seed=0)
    caplog.clear()
    convert(root, tmp_path / "new")
    converted = inspect(tmp_path / "new")
    assert (EXTRA in converted["left_out"]) == (column is not None)  # carried along where it can be
    if column is None:
        assert any("1 columns are not converted" in record.message for record in caplog.records)
    assert told(tmp_path / "new") == [(1, 0, 0), (1, 1, 0)]


@pytest.mark.parametrize("key", [STATE, ACTION, FRONT])
def test_without_what_every_policy_reads_inspect_fails(tmp_path: Path, key: str) -> None:
    entry = {"dtype": "video" if key == FRONT else "float32", "shape": None}
    root = write_v21(tmp_path / "set", Foreign(lengths=LENGTHS, features={key: entry}))
    with pytest.raises(UnknownStreamError, match=f"'{key}' is left out"):
        inspect(root)
    with pytest.raises(UnknownStreamError, match=f"'{key}' is left out"):
        convert(root, tmp_path / "new")


def test_a_camera_without_videos_of_one_episode_is_refused_there_alone(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", Foreign(lengths=LENGTHS))
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1][f"videos/{FRONT}/from_timestamp"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert read_picture(sample_windows(root, 0, 1, [f"{FRONT}=0"])[FRONT][0]) == (0, 1, 0)
    for read in (told, inspect):
        with pytest.raises(DatasetError, match=rf"gives episode 1 no video of '{FRONT}'; restore it"):
            read(root)


def test_a_camera_that_the_episodes_do_not_mention_is_left_out(tmp_path: Path) -> None:
    side = "observation.images.side"
    entry = {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": None}
    root = write_v30(tmp_path / "set", Foreign(lengths=LENGTHS, features={side: entry}))
    assert f"no column 'videos/{side}/" in inspect(root)["left_out"][side]
    assert told(root) == [(1, 0, 0), (1, 1, 0)]


def test_a_name_of_two_columns_blocks_only_who_reads_it(tmp_path: Path) -> None:
    extra = {EXTRA: {"dtype": "float32", "shape": [1]}}
    column = pa.array(np.zeros(3, np.float32))
    root = write_v21(
        tmp_path / "a",
        Foreign(lengths=(3, 3), features=extra, columns=lambda usual, index, length: usual | {EXTRA: column}),
    )
    for path in sorted(root.glob("data/*/*.parquet")):
        rewrite(path, lambda table: table.append_column(EXTRA, table.column(EXTRA)))
    message = rf"has 2 columns '{EXTRA}'; remove all but one"
    assert re.search(message, inspect(root)["left_out"][EXTRA])
    with pytest.raises(UnknownStreamError, match=message):
        open_dataset(root).read(0, EXTRA, [0])
    convert(root, tmp_path / "b")
    assert EXTRA not in open_dataset(tmp_path / "b").streams
    rewrite(path, lambda table: table.append_column("timestamp", table.column("timestamp")))
    with pytest.raises(DatasetError, match=r"has 2 columns 'timestamp'; remove all but one"):
        inspect(root)


def test_an_episode_whose_rows_are_there_twice_is_refused(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "a", Foreign(lengths=LENGTHS, statistics=False))
    rewrite(root / "data/chunk-000/file-000.parquet", lambda table: pa.concat_tables([table, table.slice(0, 3)]))
    with pytest.raises(DatasetError, match=r"rows 0 to 2 have episode_index 0, and rows 5 to 7 have it again"):
        inspect(root)
    assert open_dataset(root).read(1, STATE, [0]).value.shape == (1, 3)


def test_a_file_without_any_row_of_its_episode_says_whose_rows_it_has(tmp_path: Path) -> None:
    zero = Foreign(columns=lambda usual, index, length: usual | {"episode_index": pa.array([0] * length)})
    with pytest.raises(DatasetError, match=r"episode_000001.parquet: no row has episode_index 1.*\(it has 0\)"):
        inspect(write_v21(tmp_path / "a", zero))


@pytest.mark.parametrize("kind", [pa.list_view(pa.float32()), pa.large_list_view(pa.float64())])
def test_columns_of_list_views_are_read_and_converted(tmp_path: Path, kind: pa.DataType) -> None:
    def columns(usual: dict[str, Any], index: int, length: int) -> dict[str, Any]:
        states = pa.array(foreign.state(index, length).tolist(), kind)
        return usual | {STATE: states, "task_index": pa.array([[0]] * length, pa.list_view(pa.int64()))}

    foreign = Foreign(lengths=LENGTHS, columns=columns)
    root = write_v30(tmp_path / "old", foreign)
    inspect(root)
    np.testing.assert_array_equal(open_dataset(root).read(1, STATE, range(2)).value, foreign.state(1, 2))
    old = write_v21(tmp_path / "older", foreign)
    assert convert(old, tmp_path / "new") == 2
    np.testing.assert_array_equal(open_dataset(tmp_path / "new").read(1, STATE, range(2)).value, foreign.state(1, 2))


@pytest.mark.parametrize("shape", [[1, 3], [3, 1], [1, 3, 1]])
def test_a_state_with_axes_of_one_is_a_vector(tmp_path: Path, shape: list[int]) -> None:
    foreign = Foreign(lengths=LENGTHS, features={STATE: {"dtype": "float32", "shape": shape}})
    source = open_dataset(write_v21(tmp_path / "a", foreign))
    assert source.embodiment.state_dim == 3
    np.testing.assert_array_equal(source.read(1, STATE, range(2)).value, foreign.state(1, 2))


def test_a_state_of_several_axes_is_refused_with_a_declaration_that_works(tmp_path: Path) -> None:
    foreign = Foreign(
        lengths=LENGTHS,
        state_dim=6,
        features={STATE: {"dtype": "float32", "shape": [2, 3]}, EXTRA: {"dtype": "float32", "shape": [2]}},
        columns=lambda usual, index, length: usual | {EXTRA: usual[ACTION]},
    )
    root = write_v21(tmp_path / "a", foreign)
    message = rf"'{STATE}' has shape \[2, 3\].*declare it as \[6\].*with state_key, of \['{EXTRA}'\]"
    with pytest.raises(DatasetError, match=message):
        inspect(root)
    inspect(root, StreamKeys.parse(EXTRA, None))
    edit_json(root / "meta/info.json", lambda info: info["features"][STATE].update(shape=[6]))
    inspect(root)
    np.testing.assert_array_equal(open_dataset(root).read(0, STATE, range(3)).value, foreign.state(0, 3))


@pytest.mark.parametrize("key", ["timestamp", STATE, FRONT])
def test_a_column_that_ends_before_its_episode_is_told_as_damage(tmp_path: Path, monkeypatch, key: str) -> None:
    """As a flipped bit in a file's footer makes it."""
    source = open_dataset(write_v21(tmp_path / "set", Foreign(lengths=(4,), storage="image")))
    columns = Columns(source.meta, source.cache)
    whole = Columns.stored if key != FRONT else Columns._pictures

    def short(self: Columns, path: Path, name: str, *group: int) -> pa.Array:
        found = whole(self, path, name, *group)
        return found.slice(0, 3) if name == key else found

    monkeypatch.setattr(Columns, whole.__name__, short)
    record = source.meta.episodes[0]
    with pytest.raises(DatasetError, match=rf"000000.parquet: damaged, column '{key}' ends after 3 rows, .*; copy it"):
        columns.picture(record, key, 3) if key == FRONT else columns.values(record, key)
