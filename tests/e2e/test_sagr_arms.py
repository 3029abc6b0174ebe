"""The comparison of SA-GR's arms keeps records of settings apart, and all of several writers; no training is run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sagr_arms.py"


def load() -> Any:
    """The benchmark as a module."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("sagr_arms", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["sagr_arms"] = module  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture
def arms(monkeypatch) -> Any:
    """The benchmark; its commands are noted in `arms.calls`, and leave what they would leave."""
    monkeypatch.setitem(sys.modules, "sagr_arms", None)
    module = load()
    module.calls = []

    def command(*words: str) -> str:
        module.calls.append(words)
        if words[0] == "train":
            return json.dumps({"cpu_seconds": 1.0})
        results = Path(words[words.index("--json") + 1])
        results.parent.mkdir(parents=True)
        episodes = [{"task": "push-v3", "success": True}] * int(words[words.index("--episodes") + 1])
        results.write_text(json.dumps({"episodes": episodes}))
        results.with_suffix(".timing.json").write_text(json.dumps({"policy_latency_ms": {"median": 1.0}}))
        return ""

    monkeypatch.setattr(module, "tempovla", command)
    return module


@pytest.fixture
def run(arms, tmp_path, capsys):
    """Run the benchmark with further options; its exit code and what it printed."""
    (tmp_path / "data").mkdir()

    def ran(place: str = "metaworld", *options: str) -> tuple[int, str, str]:
        folders = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
        words = [place, *folders, "--json", str(tmp_path / "arms.json"), "--arms", arms.FLOW, *options]
        code = arms.exit_code_of(lambda: arms.main(words))
        return code, *capsys.readouterr()

    return ran


def test_place_steps_and_episodes_are_part_of_a_setting_and_of_its_folders(arms, run, tmp_path):
    for place, *options in (
        ("metaworld",),
        ("libero",),
        ("metaworld", "--steps", "7"),
        ("metaworld", "--episodes", "2"),
    ):
        arms.calls.clear()
        assert run(place, *options)[0] == 0
        assert any(words[0] == "eval" for words in arms.calls)  # no record of another setting is its answer
    same = "k=8, chunks of 16"
    assert list(json.loads((tmp_path / "arms.json").read_text())) == [
        f"metaworld, 1000 steps, {same}, 15 episodes of seed 0",
        f"libero, 1000 steps, {same}, 15 episodes of seed 0",
        f"metaworld, 7 steps, {same}, 15 episodes of seed 0",
        f"metaworld, 1000 steps, {same}, 2 episodes of seed 0",
    ]
    folders = {path.name for path in (tmp_path / "out").iterdir()}
    assert folders == {"metaworld_1000_0_16_0", "libero_1000_0_16_0", "metaworld_7_0_16_0"}
    played = {path.name for path in (tmp_path / "out/metaworld_1000_0_16_0").iterdir()}
    assert {"eval_execution_horizon_8_15_0", "eval_execution_horizon_8_2_0"} <= played


def test_what_is_finished_is_not_done_again(arms, run):
    first = run()
    arms.calls.clear()
    assert run() == first
    assert arms.calls == []
    assert "Episodes as they are, metaworld, 1000 steps, k=8" in first[1]


def test_steps_that_are_given_are_those_of_the_training(arms, run):
    run("metaworld", "--steps", "7")
    train = next(words for words in arms.calls if words[0] == "train")
    assert train[train.index("--training.train_steps") + 1] == "7"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arms", "FLARE; dym"], "error: --arms: 'dym' is no arm; choose from flow matching alone; + dyn; "),
        (["--data", "nowhere"], "error: --data=nowhere is no folder; give that of the demonstrations"),
        (["--demos", "0"], "error: --demos=0 must be at least 1; give more, or leave it out"),
        (["--arms", "+ dyn", "--k", "20"], "error: arm '+ dyn': "),
        (["--show"], "error: --json="),
        (["--seeds", "0,x"], "error: --seeds=0,x must be whole numbers, separated by commas"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_run(arms, run, options, message):
    code, out, err = run("metaworld", *options)
    assert (code, out, arms.calls, err.count("\n")) == (2, "", [], 1)
    assert err.startswith(message)


def test_a_torn_file_of_records_is_named_and_left_as_it_is(arms, run, tmp_path):
    (tmp_path / "arms.json").write_text('{"metaworld": {')
    code, _, err = run()
    assert (code, arms.calls, err.count("\n")) == (2, [], 1)
    assert err.startswith(f"error: {tmp_path / 'arms.json'}: ")
    assert (tmp_path / "arms.json").read_text() == '{"metaworld": {'


@pytest.mark.parametrize("text", ["[]", '{"a": 3}', '{"SETTING": {"as they are": {"flow matching alone": {"0": 3}}}}'])
def test_a_foreign_file_is_named_with_the_remedy(run, tmp_path, text):
    setting = "metaworld, 1000 steps, k=8, chunks of 16, 15 episodes of seed 0"
    (tmp_path / "arms.json").write_text(text.replace("SETTING", setting))
    code, out, err = run("metaworld", "--show")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {tmp_path / 'arms.json'}: ")
    assert "; " in err


def test_a_setting_that_is_not_there_is_not_shown_as_an_empty_one(arms, run):
    run()
    code, out, err = run("metaworld", "--show", "--steps", "7")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds no outcomes of 'metaworld, 7 steps" in err


@pytest.mark.parametrize("place", ["metaworld", "libero"])
def test_the_published_outcomes_can_be_shown(arms, place, capsys):
    published = SCRIPT.parents[1] / "docs" / "results" / f"sagr-{place}.json"
    setting = next(iter(json.loads(published.read_text())))
    assert arms.Store(published, setting).rows


def test_a_refused_training_leaves_no_folder(arms, run, monkeypatch, tmp_path):
    def refused(*words: str) -> str:
        raise ValueError("no")

    monkeypatch.setattr(arms, "tempovla", refused)
    assert run()[0] == 2
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_with_one_line_and_130(arms, run, monkeypatch, tmp_path):
    def interrupted(*words: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(arms, "tempovla", interrupted)
    assert run() == (130, "", "interrupted; the same call goes on\n")
    assert not list((tmp_path / "out").rglob("training.json"))


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """The function that runs a command; what runs instead says something, and ends with an exit code."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    module = importlib.import_module("commands")

    def ended_with(code: int) -> Any:
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\necho told\necho warned >&2\nexit {code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return module.tempovla

    return ended_with


@pytest.mark.parametrize(("code", "error"), [(0, None), (3, ValueError), (130, KeyboardInterrupt)])
def test_a_command_that_fails_or_is_interrupted_is_told_apart(ended, code, error):
    if error is None:
        assert ended(code)("train") == "told\n"
    else:
        with pytest.raises(error):
            ended(code)("train")


def test_a_log_has_all_that_a_command_writes_and_its_failure_names_it(ended, tmp_path):
    log = tmp_path / "train.log"
    assert ended(0)("train", log=log) == "told\n"
    with pytest.raises(ValueError, match=r"^tempovla train failed with exit code 3; see .*train\.log$"):
        ended(3)("train", log=log)
    assert log.read_text() == "warned\ntold\n" * 2


def add_records(path: Path, writer: int) -> None:
    """Add twenty records of a setting of its own."""
    store = load().Store(path, f"setting {writer}")
    for seed in range(20):
        store.add("calm", "arm", seed, {"successes": {}})
    os._exit(0)


def test_two_writers_lose_no_record(tmp_path):
    path = tmp_path / "arms.json"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_records, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    found = json.loads(path.read_text())
    assert {setting: len(kinds["calm"]["arm"]) for setting, kinds in found.items()} == {
        f"setting {writer}": 20 for writer in range(3)
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["arms.json"]
