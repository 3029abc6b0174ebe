"""What is shown of a run: nothing but a line now and then where there is no terminal."""

from __future__ import annotations

import logging

import pytest

from tempovla.training import progress
from tempovla.training.progress import TrainingProgress


def report(silent: bool, steps: tuple[int, ...] = (5, 6)) -> None:
    with TrainingProgress("phase1", train_step=4, total_steps=10, silent=silent) as bar:
        for step in steps:
            bar.step(step, {"total": 0.125, "jepa_mse": 0.0123}, rows=64)


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch):
    """A clock on which a step lasts 20 s."""
    ticks = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_without_a_terminal_a_line_comes_every_interval_with_throughput_and_time_left(caplog, capsys):
    with caplog.at_level(logging.INFO, "tempovla.training.progress"):
        report(silent=False, steps=(5, 6, 7))
    assert caplog.messages == [
        "phase1: step 5 of 10, total 0.125, jepa_mse 0.0123, 3.2 samples/s, 100 s left",
        "phase1: step 7 of 10, total 0.125, jepa_mse 0.0123, 3.2 samples/s, 60 s left",
    ]
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_the_last_step_has_a_line_however_short_the_run(caplog):
    with (
        caplog.at_level(logging.INFO, "tempovla.training.progress"),
        TrainingProgress("phase1", train_step=5, total_steps=6, silent=False) as bar,
    ):
        bar.step(6, {"jepa_mse": 0.0123}, rows=64)
    assert caplog.messages == ["phase1: step 6 of 6, jepa_mse 0.0123, 3.2 samples/s, 0 s left"]


def test_a_slow_first_step_is_shown_at_once_and_does_not_slow_what_follows(caplog, monkeypatch):
    times = iter([0.0, 100.0, 101.0, 132.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with (
        caplog.at_level(logging.INFO, "tempovla.training.progress"),
        TrainingProgress("driving", train_step=0, total_steps=9, silent=False) as bar,
    ):
        for step in (1, 2, 3):
            bar.step(step, {"total": 1.0}, rows=4)
    assert caplog.messages == [
        "driving: step 1 of 9, total 1, 0.04 samples/s, 800 s left",
        "driving: step 3 of 9, total 1, 0.25 samples/s, 96 s left",
    ]


def test_processes_other_than_the_first_say_nothing(caplog, capsys):
    with caplog.at_level(logging.INFO, "tempovla.training.progress"):
        report(silent=True)
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")
