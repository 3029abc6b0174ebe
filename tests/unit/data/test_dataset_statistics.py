"""Statistics are computed where they are not, and kept."""

import json
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from tests.foreign import ACTION, STATE, WRITERS, Foreign, edit_json, write_v21, write_v30

from tempovla.data import kept_statistics, statistics
from tempovla.data.lerobot import open_dataset
from tempovla.data.statistics import of_values

NAMES = ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
BARE = Foreign(cameras=(), statistics=False)


def expected(foreign: Foreign, make) -> dict[str, np.ndarray]:
    return of_values(np.concatenate([make(index, length) for index, length in foreign.episodes]))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_absent_statistics_are_those_of_the_rows_and_kept(tmp_path: Path, version: str) -> None:
    root = WRITERS[version](tmp_path / "set", BARE)
    found = open_dataset(root).statistics
    for key, make in ((STATE, BARE.state), (ACTION, BARE.action)):
        for name in NAMES:
            np.testing.assert_allclose(found[key][name], expected(BARE, make)[name], rtol=1e-12)
    assert set(json.loads((root / "meta/tempovla_stats.json").read_text())["streams"]) == {STATE, ACTION}
    again = open_dataset(root).statistics
    assert again.absent({STATE: NAMES, ACTION: NAMES}) == []
    for name in NAMES:
        np.testing.assert_array_equal(again[ACTION][name], found[ACTION][name])


def test_only_what_is_asked_for_is_computed(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", BARE)
    _ = open_dataset(root).statistics[ACTION]["mean"]
    assert set(json.loads((root / "meta/tempovla_stats.json").read_text())["streams"]) == {ACTION}


def test_absent_quantiles_are_computed_and_what_is_stored_stays(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", Foreign(cameras=()))
    before = (root / "meta/stats.json").read_bytes()
    source = open_dataset(root)
    assert source.statistics.absent({ACTION: ("mean", "std")}) == []
    assert source.statistics.absent({ACTION: ("q01", "q99")}) == [ACTION]
    np.testing.assert_allclose(source.statistics[ACTION]["q01"], expected(BARE, BARE.action)["q01"])
    assert (root / "meta/stats.json").read_bytes() == before


def test_a_changed_dataset_has_its_statistics_computed_again(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", BARE)
    _ = open_dataset(root).statistics[ACTION]
    path = root / "data/chunk-000/file-000.parquet"
    os.utime(path, ns=(1, 1))
    assert open_dataset(root).statistics.absent({ACTION: NAMES}) == [ACTION]


def test_a_dataset_that_cannot_be_written_has_them_in_the_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "cache"))
    root = write_v30(tmp_path / "set", BARE)
    write = kept_statistics.write_text

    def refuse(path: Path, text: str) -> None:
        if path.is_relative_to(root):
            raise PermissionError(13, "Permission denied", str(path))
        write(path, text)

    monkeypatch.setattr(kept_statistics, "write_text", refuse)
    found = open_dataset(root).statistics[ACTION]["mean"]
    assert not (root / "meta/tempovla_stats.json").exists()
    again = open_dataset(root).statistics
    assert again.absent({ACTION: NAMES}) == []
    np.testing.assert_array_equal(again[ACTION]["mean"], found)


def test_where_nothing_can_be_written_a_warning_says_so(tmp_path: Path, monkeypatch, caplog) -> None:
    root = write_v30(tmp_path / "set", BARE)
    monkeypatch.setattr(kept_statistics, "write_text", lambda path, text: (tmp_path / "no/where").write_text(text))
    found = open_dataset(root).statistics[ACTION]["mean"]
    np.testing.assert_allclose(found, expected(BARE, BARE.action)["mean"])
    assert "set TEMPOVLA_CACHE to a folder that can be written" in caplog.text


def test_a_broken_file_of_ours_is_told_and_written_anew(tmp_path: Path, caplog) -> None:
    root = write_v30(tmp_path / "set", BARE)
    path = root / "meta/tempovla_stats.json"
    path.write_text("{")
    _ = open_dataset(root).statistics[ACTION]
    assert "not readable" in caplog.text
    assert set(json.loads(path.read_text())["streams"]) == {ACTION}


@pytest.mark.parametrize("streams", [None, ["action"], "action"])
def test_a_file_of_ours_that_was_edited_into_another_form_is_told_and_written_anew(
    tmp_path: Path, caplog, streams: object
) -> None:
    root = write_v30(tmp_path / "set", BARE)
    _ = open_dataset(root).statistics[ACTION]
    path = root / "meta/tempovla_stats.json"
    edit_json(path, lambda kept: kept.update(streams=streams))
    np.testing.assert_allclose(open_dataset(root).statistics[ACTION]["mean"], expected(BARE, BARE.action)["mean"])
    assert "tempovla_stats.json: not readable" in caplog.text
    assert set(json.loads(path.read_text())["streams"]) == {ACTION}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"std": [0.5, -1.0]}, "'action' has std -1, which is negative in dimension 1"),
        ({"min": [9.0, 0.0], "max": [1.0, 1.0]}, "'action' has min 9 above max 1 in dimension 0"),
        ({"mean": [1e30, 0.0]}, "'action' has mean 1e+30 outside of min"),
        ({"mean": [0.0]}, "'action' has mean of shape [1], but its values have [2]"),
        ({"std": ["wide", 1.0]}, "'action' has std ['wide', 1.0], which is not numbers"),
        ({"count": [3]}, "'action' has count 3, but there are"),
        ({"q01": None}, "'action' has q01 of shape [], but its values have [2]"),
    ],
)
def test_kept_statistics_that_no_rows_have_are_told_once_and_computed_again(
    tmp_path: Path, caplog, change: dict[str, object], told: str
) -> None:
    root = write_v30(tmp_path / "set", BARE)
    before = dict(open_dataset(root).statistics[ACTION])
    edit_json(root / "meta/tempovla_stats.json", lambda kept: kept["streams"][ACTION].update(change))
    again = open_dataset(root).statistics[ACTION]
    assert all(np.array_equal(again[name], value) for name, value in before.items())
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert told in warnings[0]
    assert warnings[0].endswith("so that it is computed again")
    caplog.clear()
    _ = open_dataset(root).statistics[ACTION]
    assert not caplog.records


def test_a_cache_below_a_file_is_no_cache(tmp_path: Path, monkeypatch, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "file"))
    _ = open_dataset(write_v30(tmp_path / "set", BARE)).statistics[ACTION]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_kept_statistics_that_are_not_of_the_rows_any_more_are_found(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", BARE)
    needed = {ACTION: ("mean", "std")}
    _ = open_dataset(root).statistics[ACTION]
    assert open_dataset(root).statistics.findings(needed) == []
    others = {"std": 0.5, "min": 4.0, "max": 6.0} | dict.fromkeys(("mean", "q01", "q10", "q50", "q90", "q99"), 5.0)
    changed = {name: [value, value] for name, value in others.items()}
    edit_json(root / "meta/tempovla_stats.json", lambda kept: kept["streams"][ACTION].update(changed))
    statistics_now = open_dataset(root).statistics
    (finding,) = statistics_now.findings(needed)
    assert finding.refused
    statistics_now.compute([ACTION])  # what `data stats --recompute` does
    assert statistics_now.findings(needed) == []
    assert open_dataset(root).statistics.findings(needed) == []


def test_a_fault_is_told_once_when_they_are_computed(tmp_path: Path, caplog) -> None:
    root = write_v30(tmp_path / "set", Foreign(cameras=()))
    edit_json(root / "meta/stats.json", lambda stats: stats[ACTION].update(std=[None, 1.0]))
    for _ in range(2):
        np.testing.assert_allclose(open_dataset(root).statistics[ACTION]["std"], expected(BARE, BARE.action)["std"])
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 1
    assert "'action' has std [None, 1.0], which is not finite; the statistics are computed from the data" in lines[0]


def _compute(root: Path) -> None:
    _ = open_dataset(root).statistics[ACTION]


def test_two_processes_may_compute_at_once(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", BARE)
    processes = [multiprocessing.get_context("fork").Process(target=_compute, args=(root,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(path.name for path in (root / "meta").glob("*stats*")) == ["tempovla_stats.json"]
    assert open_dataset(root).statistics.absent({ACTION: NAMES}) == []


def test_more_than_fits_in_memory_is_read_in_rounds_with_the_same_result(tmp_path: Path, monkeypatch) -> None:
    source = open_dataset(write_v30(tmp_path / "set", BARE))
    whole = statistics.compute(source, [STATE, ACTION])
    monkeypatch.setattr(statistics, "MAX_HELD_BYTES", 90)  # 11 rows of 4 bytes: two dimensions
    rounds = []

    def count(total):
        rounds.append(total)
        return statistics.unwatched(total)

    parts = statistics.compute(source, [STATE, ACTION], progress=count)
    assert rounds == [3 * 2]
    for key in (STATE, ACTION):
        for name in NAMES:
            np.testing.assert_array_equal(parts[key][name], whole[key][name])


def test_a_selection_has_those_of_its_own_rows(tmp_path: Path) -> None:
    from tempovla.data.selection import select

    chosen = select(open_dataset(write_v30(tmp_path / "set", Foreign(cameras=()))), max_len_data=4)
    first = of_values(np.concatenate([BARE.action(0, 4), BARE.action(1, 4)]))
    np.testing.assert_allclose(chosen.statistics[ACTION]["q99"], first["q99"])
    assert not (tmp_path / "set/meta/tempovla_stats.json").exists()
