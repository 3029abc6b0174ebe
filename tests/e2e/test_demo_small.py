"""The whole demo, small, as a user runs it: interrupted and killed in the middle, and run again to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.command_line import logging_as_before  # noqa: F401  commands configure it

from tempovla.cli.main import main
from tempovla.recipe import demo

pytestmark = [pytest.mark.slow, pytest.mark.sim]

TASKS = ("drawer-open-v3", "push-v3")
TIMEOUT_S = 1200


def words(out: Path) -> list[str]:
    settings = {
        "out": out,
        "seed": 3,
        "tasks": ",".join(TASKS),
        "demonstrations": 1,
        "phase1_steps": 4,
        "phase2_steps": 4,
        "evaluation_episodes": 1,
        "workers": 1,
    }
    return ["demo", *(str(word) for name, value in settings.items() for word in (f"--{name}", value))]


def hear_ctrl_c() -> None:
    """Tests that run in the background of a shell inherit deafness to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def signal_once_there(words: list[str], path: Path, number: signal.Signals) -> tuple[int, str]:
    """Start a command, and signal it as soon as `path` exists; its exit code and what it and its workers said.

    Ctrl-C reaches the workers, too; SIGKILL does not, but they end all the same.
    """
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "tempovla.cli", *words]
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=hear_ctrl_c, **quiet)
    deadline = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert process.poll() is None, f"the demo ended with code {process.returncode} before {path} was there"
        assert time.monotonic() < deadline, f"{path} did not appear within {TIMEOUT_S} s"
        time.sleep(0.02)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def test_an_interrupted_and_killed_demo_goes_on_and_leaves_results_and_a_report(tmp_path, monkeypatch, capsys):
    """What nobody interrupts goes on in this process, where episodes of a policy that learned nothing end soon."""
    out = tmp_path / "demo"
    code, said = signal_once_there(words(out), out / "dataset" / "meta" / "info.json", signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said  # nor from its workers
    latest = out / "train" / "phase1_temporal_jepa" / "checkpoint_latest"
    assert signal_once_there(words(out), latest, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (out / "results.json").exists()
    episodes = {path: path.stat().st_mtime_ns for path in (out / "dataset" / "data").rglob("*.parquet")}
    monkeypatch.setattr(demo, "DEMONSTRATION_STEPS", 30)
    assert main(words(out)) == 0
    told = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (out / "dataset" / "data").rglob("*.parquet")} == episodes

    results = json.loads((out / "results.json").read_text())
    assert {"tasks", "mean", "cpu_seconds", "wall_seconds", "seed", "versions", "command"} <= set(results)
    assert set(results["tasks"]) == set(TASKS)
    assert results["seed"] == 3
    assert results["versions"]["metaworld"] == "3.1.1"
    for block in results["tasks"].values():
        low, high = block["ci95"]
        assert 0 <= low <= block["success"] <= high <= 1
        assert block["episodes"] == 1
        assert {block["success"], block["blind"], block["wrong_instruction"]} <= {0.0, 1.0}
    assert results["mean"]["tasks"] == ["drawer-open-v3"]
    assert results["cpu_seconds"] == pytest.approx(sum(stage["cpu_seconds"] for stage in results["stages"]), abs=0.1)
    assert [stage["name"] for stage in results["stages"]][:3] == ["collect", "train", "train_blind"]

    page = (out / "report.html").read_text()
    assert "open the drawer" in page
    assert "data:video/mp4;base64," in page
    assert f"report: {out / 'report.html'}" in told

    assert main(words(out)) == 0
    assert json.loads((out / "results.json").read_text())["tasks"] == results["tasks"]
