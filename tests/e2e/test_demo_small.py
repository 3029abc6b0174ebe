"""The whole demo, small, as a user runs it: interrupted and killed in the middle, and run again to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command_line import logging_as_before  # noqa: F401  commands configure it
from tests.processes import Nursery

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


def wait_for(path: Path, ended: Callable[[], object]) -> None:
    """Until it exists, and the command that makes it has not ended without it."""
    deadline = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert not ended(), f"the demo ended before {path} was there"
        assert time.monotonic() < deadline, f"{path} did not appear within {TIMEOUT_S} s"
        time.sleep(0.02)


def interrupted_once_there(words: list[str], path: Path) -> tuple[int, str]:
    """The exit code of a command that hears Ctrl-C as soon as `path` exists, as its workers do, and what all said."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "tempovla.cli", *words]
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=hear_ctrl_c, **quiet)
    wait_for(path, lambda: process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def killed_once_there(words: list[str], path: Path, nursery: Nursery) -> int:
    """The exit code of a command that is killed as soon as `path` exists; its workers are not, and end all the same."""
    (process,) = nursery.start(1, "tempovla.cli.main:main", words)
    wait_for(path, lambda: "Z" in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2])
    os.kill(process, signal.SIGKILL)
    (code,), _ = nursery.wait()
    return code


def test_an_interrupted_and_killed_demo_goes_on_and_leaves_results_and_a_report(tmp_path, monkeypatch, capsys, nursery):
    """What nobody interrupts goes on in this process, where episodes of a policy that learned nothing end soon."""
    out = tmp_path / "demo"
    code, said = interrupted_once_there(words(out), out / "dataset" / "meta" / "info.json")
    assert code == 130
    assert "Traceback" not in said  # nor from its workers
    latest = out / "train" / "phase1_temporal_jepa" / "checkpoint_latest"
    assert killed_once_there(words(out), latest, nursery) == -signal.SIGKILL
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
