"""Latencies and rates follow from the clock that is given."""

from __future__ import annotations

import pytest

from tempovla.control.timing import Stopwatch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_latency_is_that_of_decisions_and_the_rate_that_of_calls():
    clock = Clock()
    watch = Stopwatch(20.0, clock)
    assert str(watch.read()) == "no decision yet"
    for step in range(11):
        watch.called(1)
        if step % 5 == 0:
            with watch.decision():
                clock.now += 0.02
            clock.now += 0.03
        else:
            clock.now += 0.05
    read = watch.read()
    assert (read.decisions, read.asked_rate_hz) == (3, 20.0)
    assert (read.latency_s, read.latency_p95_s, read.latency_max_s) == pytest.approx((0.02, 0.02, 0.02))
    assert read.rate_hz == pytest.approx(20.0)
    assert str(read) == "3 decisions of 20.0 ms (95% within 20.0 ms), 20.0 Hz of 20 Hz"


def test_calls_that_execute_several_steps_count_as_these():
    clock = Clock()
    watch = Stopwatch(10.0, clock)
    watch.called(0)
    clock.now = 0.8
    watch.called(4)
    assert watch.read().rate_hz == pytest.approx(5.0)


def test_a_pause_between_episodes_is_left_out():
    clock = Clock()
    watch = Stopwatch(10.0, clock)
    for moment in (0.0, 0.1, 50.0, 50.1):
        clock.now = moment
        if moment == 50.0:
            watch.pause()
        watch.called(1)
    assert watch.read().rate_hz == pytest.approx(10.0)


def test_a_decision_that_fails_is_not_timed():
    watch = Stopwatch(10.0)
    with pytest.raises(KeyError), watch.decision():
        raise KeyError
    assert watch.read().decisions == 0
