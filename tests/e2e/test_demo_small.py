"""The whole demo, small, as a user runs it: killed in the middle, and run again to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sim]

TASKS = ("drawer-open-v3", "push-v3")
TIMEOUT_S = 600


def command(out: Path) -> list[str]:
    settings = {
        "out": out,
        "seed": 3,
        "tasks": ",".join(TASKS),
        "demonstrations": 2,
        "phase1_steps": 20,
        "phase2_steps": 20,
        "evaluation_episodes": 2,
    }
    options = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "tempovla.cli", "demo", *options]


def hear_ctrl_c() -> None:
    """Tests that run in the background of a shell inherit deafness to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_once_there(command: list[str], path: Path) -> None:
    """Start a process, and kill it as soon as `path` exists."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert process.poll() is None, f"the demo ended with code {process.returncode} before {path} was there"
        assert time.monotonic() < deadline, f"{path} did not appear within {TIMEOUT_S} s"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_demo_goes_on_and_leaves_results_and_a_report(tmp_path):
    out = tmp_path / "demo"
    kill_once_there(command(out), out / "dataset" / "meta" / "info.json")
    kill_once_there(command(out), out / "train" / "phase1_temporal_jepa" / "checkpoint_latest")
    assert not (out / "results.json").exists()
    episodes = {path: path.stat().st_mtime_ns for path in (out / "dataset" / "data").rglob("*.parquet")}
    done = subprocess.run(command(out), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "dataset" / "data").rglob("*.parquet")} == episodes

    results = json.loads((out / "results.json").read_text())
    assert {"tasks", "mean", "cpu_seconds", "wall_seconds", "seed", "versions", "command"} <= set(results)
    assert set(results["tasks"]) == set(TASKS)
    assert results["seed"] == 3
    assert results["versions"]["metaworld"] == "3.1.1"
    for block in results["tasks"].values():
        low, high = block["ci95"]
        assert 0 <= low <= block["success"] <= high <= 1
        assert block["episodes"] == 2
        assert {block["success"], block["blind"], block["wrong_instruction"]} <= {0.0, 0.5, 1.0}
    assert results["mean"]["tasks"] == ["drawer-open-v3"]
    assert results["cpu_seconds"] == pytest.approx(sum(stage["cpu_seconds"] for stage in results["stages"]), abs=0.1)
    assert [stage["name"] for stage in results["stages"]][:3] == ["collect", "train", "train_blind"]

    page = (out / "report.html").read_text()
    assert "open the drawer" in page
    assert "data:video/mp4;base64," in page
    assert f"report: {out / 'report.html'}" in done.stdout

    again = subprocess.run(command(out), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0
    assert json.loads((out / "results.json").read_text())["tasks"] == results["tasks"]


def test_ctrl_c_ends_the_demo_quietly_with_its_workers(tmp_path):
    out = tmp_path / "demo"
    process = subprocess.Popen(
        command(out),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    while not (out / "dataset").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
