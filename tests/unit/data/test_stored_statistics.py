"""Statistics that a dataset brings, as odd tools leave them."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.foreign import ACTION, FRONT, STATE, WRITERS, Foreign, describe, edit_json, write_json, write_v21, write_v30

from tempovla.data.lerobot_meta import load_meta
from tempovla.data.stored_statistics import episode_statistics, load_statistics

SMALL = Foreign(cameras=())


def spoiled(tmp_path: Path, entry) -> Path:
    root = write_v30(tmp_path / "set", SMALL)
    edit_json(root / "meta/stats.json", lambda stats: stats.update({ACTION: entry}))
    return root


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"std": [None, 1.0]}, "not finite"),
        ({"std": [float("nan"), 1.0]}, "not finite"),
        ({"mean": [0.0, 0.0, 0.0]}, r"mean of shape [3], but its values have [2]"),
        ({"mean": "sha256:00"}, "not numbers"),
        ({"mean": [[0.0], [0.0, 1.0]]}, "not numbers"),
        ({"count": [0]}, "count 0"),
        (None, "has no min"),
        ("sha256:00", "instead of statistics by name"),
    ],
)
def test_what_is_not_sound_is_left_out_and_said(tmp_path: Path, change, told: str) -> None:
    entry = describe(SMALL.action(0, 6)) | change if isinstance(change, dict) else change or {"note": "none"}
    root = spoiled(tmp_path, entry)
    stored = load_statistics(load_meta(root))
    assert set(stored.streams) == {STATE}
    assert told in stored.faults[ACTION]
    assert "'action'" in stored.faults[ACTION]
    assert str(root / "meta/stats.json") in stored.faults[ACTION]


def test_extra_levels_of_lists_and_foreign_entries_do_no_harm(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "set", SMALL)
    plain = load_statistics(load_meta(root)).streams[ACTION]

    def nest(stats):
        stats[ACTION] = {name: [value] for name, value in stats[ACTION].items()} | {"q05": "unknown"}
        stats["__fingerprints__"] = {ACTION: "sha256:00"}

    edit_json(root / "meta/stats.json", nest)
    nested = load_statistics(load_meta(root)).streams[ACTION]
    assert set(nested) == set(plain)
    for name, value in plain.items():
        np.testing.assert_array_equal(nested[name], value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n", "git lfs pull"),
        ('{"action": {"mean": [0', "not readable"),
        ("[]", "not an object"),
    ],
)
def test_a_file_that_is_no_json_is_said(tmp_path: Path, text: str, told: str) -> None:
    root = write_v30(tmp_path / "set", SMALL)
    (root / "meta/stats.json").write_text(text)
    stored = load_statistics(load_meta(root))
    assert stored.streams == {}
    assert told in stored.faults[ACTION]


def test_episodes_step_in_where_the_file_of_the_whole_tells_nothing(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", SMALL)
    expected = load_statistics(load_meta(root)).streams
    write_json(root / "meta/stats.json", {STATE: describe(np.ones((5, 3)))})
    found = load_statistics(load_meta(root)).streams
    assert found[STATE]["mean"].tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(found[ACTION]["mean"], expected[ACTION]["mean"])


def test_an_episode_without_count_or_statistics_leaves_its_streams_out(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", SMALL)
    path = root / "meta/episodes_stats.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["stats"][STATE].pop("count")
    del lines[0]["stats"][ACTION]
    path.write_text("\r\n".join(map(json.dumps, reversed(lines))), encoding="utf-8-sig")
    meta = load_meta(root)
    stored = load_statistics(meta)
    assert stored.streams == {}
    assert "'observation.state' of episode 1 has no count" in stored.faults[STATE]
    assert "'action' of episode 0 has none" in stored.faults[ACTION]
    assert [set(stats) for stats in episode_statistics(meta)] == [{STATE}, {ACTION}]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_nothing_stored_is_no_fault(tmp_path: Path, version: str) -> None:
    root = WRITERS[version](tmp_path / "set", Foreign(cameras=(), statistics=False))
    stored = load_statistics(load_meta(root))
    assert (stored.streams, stored.faults) == ({}, {})


def test_cameras_have_three_channels(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", Foreign(lengths=(3,)))
    assert load_statistics(load_meta(root)).streams[FRONT]["mean"].shape == (3, 1, 1)
