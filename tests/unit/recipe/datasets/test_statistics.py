"""A recipe's statistics are there, and those of its rows."""

import logging
import shlex

import numpy as np
import pytest
from tests.foreign import ACTION, STATE, Foreign, edit_json, write_v21, write_v30

from tempovla.cli.main import main
from tempovla.data.lerobot import open_dataset
from tempovla.data.open import open_source
from tempovla.data.stream_keys import StreamKeys
from tempovla.recipe.datasets.statistics import dataset_statistics, settle_statistics

MEAN_STD = {ACTION: ("mean", "std"), STATE: ("mean", "std")}


def spoil(root, **change):
    edit_json(root / "meta/stats.json", lambda stats: stats[ACTION].update(change))
    return root


def test_what_is_absent_is_computed_in_one_reading(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    source = open_dataset(write_v21(tmp_path / "set", Foreign(cameras=(), statistics=False)))
    settle_statistics(source, {ACTION: ("q01", "q99"), STATE: ("mean", "std")})
    lines = [line for line in caplog.messages if "computed from the data" in line]
    assert len(lines) == 1
    assert f"statistics of {ACTION}, {STATE} were computed" in lines[0]
    assert "2 of 2 episodes read for statistics" in caplog.text


def test_impossible_ones_are_refused_in_a_line_whose_remedy_works(tmp_path) -> None:
    root = spoil(write_v30(tmp_path / "set", Foreign(cameras=())), mean=[1000.0, 0.0], std=[0.001, 1.0])
    with pytest.raises(ValueError, match=r"dimension 0 \(a0\) has mean 1000") as caught:
        settle_statistics(open_dataset(root), MEAN_STD)
    line = str(caught.value)
    assert "\n" not in line
    assert line.endswith(f"`tempovla data stats {root} --recompute`")
    facts = dataset_statistics(root, recompute=True)
    assert facts["problems"] == []
    assert facts["streams"][ACTION]["origin"] == "computed from the data"
    settle_statistics(open_dataset(root), MEAN_STD)


def test_the_remedy_works_for_streams_of_other_names_and_folders_with_spaces(tmp_path) -> None:
    declared = {"dtype": "float32", "shape": [2], "names": None}
    foreign = Foreign(
        cameras=(),
        features={"arm": declared},
        columns=lambda columns, index, length: columns | {"arm": columns[ACTION]},
    )
    root = write_v30(tmp_path / "my set", foreign)
    edit_json(root / "meta/stats.json", lambda stats: stats.update(arm=stats[ACTION] | {"mean": [1000.0, 0.0]}))
    keys = StreamKeys.parse("arm", None)
    with pytest.raises(ValueError, match="'arm' do not fit the data") as caught:
        settle_statistics(open_source(root, keys=keys), {STATE: ("mean", "std")})
    command = shlex.split(str(caught.value).split("`")[1])
    assert command == ["tempovla", "data", "stats", str(root), "--recompute", "--keys", "arm"]
    assert main(command[1:]) == 0
    settle_statistics(open_source(root, keys=keys), {STATE: ("mean", "std")})


def test_slightly_stale_ones_are_a_warning(tmp_path, caplog) -> None:
    foreign = Foreign(cameras=(), lengths=(40, 40))
    root = write_v30(tmp_path / "set", foreign)
    edit_json(root / "meta/stats.json", lambda stats: stats[ACTION]["mean"].__setitem__(1, 0.4))
    settle_statistics(open_dataset(root), MEAN_STD)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "'action' do not fit the data: dimension 1 (a1) has mean 0.4" in line


def test_what_is_not_read_does_not_block(tmp_path) -> None:
    root = spoil(write_v30(tmp_path / "set", Foreign(cameras=())), mean=[1000.0, 0.0])
    settle_statistics(open_dataset(root), {STATE: ("mean", "std")})


def test_joined_streams_are_settled_by_their_parts(tmp_path) -> None:
    root = write_v30(tmp_path / "set", Foreign(cameras=()))
    keys = StreamKeys.parse([STATE, ACTION], None)
    source = open_source(root, keys=keys)
    settle_statistics(source, {STATE: ("q01", "q99")})
    own = open_dataset(root).statistics
    assert own.absent({STATE: ("q01",), ACTION: ("q01",)}) == []
    np.testing.assert_array_equal(source.statistics[STATE]["q99"], [*own[STATE]["q99"], *own[ACTION]["q99"]])
    (root / "meta/tempovla_stats.json").unlink()
    spoil(root, mean=[1000.0, 0.0])
    with pytest.raises(ValueError, match="'action' do not fit the data"):
        settle_statistics(open_source(root, keys=keys), {STATE: ("mean", "std")})
