"""Runs that are killed or interrupted go on to the weights of an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.unit.train.session import train

from tempovla.train.checkpoint import Checkpoint
from tempovla.train.interrupt import StopRequest
from tempovla.train.metrics import read_metrics

ROOT = Path(__file__).resolve().parents[3]
STEPS = 150


def start_session(run_dir: Path, steps: int = STEPS) -> subprocess.Popen[str]:
    latest = run_dir / "checkpoint_latest"
    command = [sys.executable, str(Path(__file__).with_name("session.py")), str(run_dir), str(steps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    resume = [str(latest)] if latest.exists() else []
    return subprocess.Popen(command + resume, env=environment, text=True, stderr=subprocess.PIPE)


def wait_for_step(run_dir: Path, train_step: int) -> None:
    deadline_s = time.monotonic() + 120
    while not (lines := read_metrics(run_dir)) or lines[-1]["train_step"] < train_step:
        assert time.monotonic() < deadline_s, f"no step {train_step} in {run_dir}"
        time.sleep(0.002)


def assert_same_end(run_dir: Path, whole_dir: Path) -> None:
    found, expected = (Checkpoint.load(folder / "checkpoint_latest") for folder in (run_dir, whole_dir))
    assert found.record["train_step"] == expected.record["train_step"] == STEPS
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
    assert [line["train_step"] for line in read_metrics(run_dir)] == list(range(1, STEPS + 1))
    totals = [[line["total"] for line in read_metrics(folder)] for folder in (run_dir, whole_dir)]
    assert totals[0] == totals[1]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    train(tmp_path / "whole", STEPS)
    for step in (10, 70):
        session = start_session(tmp_path / "killed")
        wait_for_step(tmp_path / "killed", step)
        time.sleep(random.uniform(0.0, 0.1))
        session.kill()
        assert session.wait() == -signal.SIGKILL
    session = start_session(tmp_path / "killed")
    assert session.wait() == 0, session.stderr.read()
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_exits_with_130_and_can_go_on(tmp_path, number):
    session = start_session(tmp_path)
    wait_for_step(tmp_path, 5)
    session.send_signal(number)
    assert session.wait(timeout=60) == 130
    stopped = Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"]
    assert f"stopped at step {stopped}; go on with --checkpoint {tmp_path}/checkpoint_latest" in session.stderr.read()
    assert read_metrics(tmp_path)[-1]["train_step"] == stopped
    train(tmp_path, STEPS, tmp_path / "checkpoint_latest")
    train(tmp_path / "whole", STEPS)
    assert_same_end(tmp_path, tmp_path / "whole")


def test_the_first_signal_asks_and_the_second_quits():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(signal.SIGINT)
        assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_a_patient_request_outlasts_the_launchers_second_signal():
    with StopRequest(patient=True) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
