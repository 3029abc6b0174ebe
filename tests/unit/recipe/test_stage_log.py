"""Stages: what each costs adds up over interruptions, and what is done is not done again."""

from __future__ import annotations

import pytest

from tempovla.recipe import stage_log
from tempovla.recipe.stage_log import StageLog


@pytest.fixture
def clock(monkeypatch):
    """Clocks that stand still until they are moved: CPU time runs at half the speed."""
    now = {"wall": 100.0}
    monkeypatch.setattr(stage_log.time, "monotonic", lambda: now["wall"])
    monkeypatch.setattr(stage_log, "cpu_seconds", lambda: now["wall"] / 2)

    def move(seconds: float) -> None:
        now["wall"] += seconds

    return move


def run(log: StageLog, name: str, seconds: float, clock, *, fail: bool = False) -> None:
    with log.stage(name):
        clock(seconds)
        if fail:
            raise KeyboardInterrupt


def test_a_stage_is_done_once_it_ended_well(tmp_path, clock):
    log = StageLog(tmp_path / "stage_log.json")
    assert not log.is_done("collect")
    run(log, "collect", 8.0, clock)
    assert log.is_done("collect")
    assert log.as_list() == [{"name": "collect", "cpu_seconds": 4.0, "wall_seconds": 8.0}]


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"train": 3}', '{"train": {"cpu_seconds": "x"}}', '{"train": {"done": true}}']
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "stage_log.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path}: .*; remove the file, and the stages run again"):
        StageLog(path)


def test_an_interrupted_stage_is_not_done_and_its_cost_adds_to_the_next_try(tmp_path, clock):
    path = tmp_path / "stage_log.json"
    with pytest.raises(KeyboardInterrupt):
        run(StageLog(path), "train", 6.0, clock, fail=True)
    clock(1000.0)
    log = StageLog(path)
    assert not log.is_done("train")
    run(log, "train", 10.0, clock)
    assert StageLog(path).is_done("train")
    assert StageLog(path).as_list() == [{"name": "train", "cpu_seconds": 8.0, "wall_seconds": 16.0}]


def test_a_killed_stage_is_marked_as_its_cost_is_unknown(tmp_path, clock):
    path = tmp_path / "stage_log.json"
    killed = StageLog(path).stage("train")
    killed.__enter__()  # and never left
    clock(50.0)
    run(StageLog(path), "train", 10.0, clock)
    expected = {"name": "train", "cpu_seconds": 5.0, "wall_seconds": 10.0, "killed": True}
    assert StageLog(path).as_list() == [expected]
    assert StageLog(path).is_done("train")


def test_stages_keep_their_order_and_add_up(tmp_path, clock):
    log = StageLog(tmp_path / "stage_log.json")
    for name, seconds in (("collect", 2.0), ("train", 5.0), ("evaluate", 3.0)):
        run(log, name, seconds, clock)
    log = StageLog(tmp_path / "stage_log.json")
    assert [stage["name"] for stage in log.as_list()] == ["collect", "train", "evaluate"]
    assert log.total("wall_seconds") == 10.0
    assert log.total("cpu_seconds") == 5.0


def test_what_happens_between_stages_is_booked_too(tmp_path, clock):
    log = StageLog(tmp_path / "stage_log.json")
    clock(3.0)
    run(log, "collect", 2.0, clock)
    clock(1.0)
    log.add_rest("start up")
    rest = log.as_list()[-1]
    assert (rest["name"], rest["wall_seconds"]) == ("start up", 4.0)
    assert rest["cpu_seconds"] == (100.0 + 6.0) / 2 - 1.0  # from the process's start on
    log.add_rest("start up")
    assert log.as_list()[-1] == rest


def test_cpu_time_counts_this_process():
    before = stage_log.cpu_seconds()
    sum(range(3_000_000))
    assert stage_log.cpu_seconds() > before
