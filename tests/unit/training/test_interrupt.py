"""Runs that are killed or interrupted go on to the weights of an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from tests.processes import Nursery
from tests.training_steps import wait_for_step
from tests.unit.training.session import train

from tempovla.training.checkpoint import Checkpoint
from tempovla.training.interrupt import StopRequest
from tempovla.training.metrics import read_metrics

STEPS = 60
"""Sessions to be broken off wait for it before they come to the end."""


def start_session(nursery: Nursery, run_dir: Path, slow_from: int | None) -> int:
    """The number of a process that trains, from its last checkpoint on if there is one."""
    latest = run_dir / "checkpoint_latest"
    resume = [latest] if latest.exists() else []
    (process,) = nursery.start(1, "tests.unit.training.session:train_alone", run_dir, STEPS, slow_from, *resume)
    return process


def assert_same_end(run_dir: Path, whole_dir: Path) -> None:
    found, expected = (Checkpoint.load(folder / "checkpoint_latest") for folder in (run_dir, whole_dir))
    assert found.record["train_step"] == expected.record["train_step"] == STEPS
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
    assert [line["train_step"] for line in read_metrics(run_dir)] == list(range(1, STEPS + 1))
    totals = [[line["total"] for line in read_metrics(folder)] for folder in (run_dir, whole_dir)]
    assert totals[0] == totals[1]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, nursery):
    train(tmp_path / "whole", STEPS)
    moments = random.Random(0)
    for step in (10, 35):
        session = start_session(nursery, tmp_path / "killed", STEPS - 10)
        wait_for_step(tmp_path / "killed", step)
        time.sleep(moments.uniform(0.0, 0.1))
        os.kill(session, signal.SIGKILL)
        assert nursery.wait()[0] == [-signal.SIGKILL]
    start_session(nursery, tmp_path / "killed", None)
    codes, said = nursery.wait()
    assert codes == [0], said
    assert_same_end(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_exits_with_130_and_can_go_on(tmp_path, nursery, number):
    session = start_session(nursery, tmp_path, 6)
    wait_for_step(tmp_path, 5)
    os.kill(session, number)
    codes, said = nursery.wait()
    assert codes == [130], said
    stopped = Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"]
    assert f"stopped at step {stopped}, which is saved as {tmp_path}/checkpoint_latest" in said
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
