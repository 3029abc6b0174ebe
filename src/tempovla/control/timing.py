"""Times of decisions, and the actual rate of control."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

REMEMBERED = 1000
"""Of the latest decisions and calls, as many count."""


@dataclass(frozen=True)
class Timing:
    """Figures of the latest decisions and control steps.

    Attributes:
        decisions: how many were timed.
        latency_s: mean time that a decision took [s], transforms included; None before the first.
        latency_p95_s: time that 95% of the decisions did not exceed [s].
        latency_max_s: time of the slowest one [s].
        rate_hz: control steps a second that were achieved [Hz]; None before the second step.
        asked_rate_hz: the body's control rate, at which the policy learned [Hz].
    """

    decisions: int
    latency_s: float | None
    latency_p95_s: float | None
    latency_max_s: float | None
    rate_hz: float | None
    asked_rate_hz: float

    def __str__(self) -> str:
        if self.latency_s is None or self.latency_p95_s is None:
            return "no decision yet"
        rate = "unknown rate" if self.rate_hz is None else f"{self.rate_hz:.1f} Hz"
        return (
            f"{self.decisions} decisions of {1e3 * self.latency_s:.1f} ms (95% within {1e3 * self.latency_p95_s:.1f} "
            f"ms), {rate} of {self.asked_rate_hz:g} Hz"
        )


class Stopwatch:
    """Times decisions and control steps.

    Args:
        asked_rate_hz: of the body [Hz].
        now: a clock [s].
    """

    def __init__(self, asked_rate_hz: float, now: Callable[[], float] = time.perf_counter) -> None:
        self.asked_rate_hz = asked_rate_hz
        self._now = now
        self._latencies: deque[float] = deque(maxlen=REMEMBERED)
        self._spans: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        self._last_call: float | None = None

    @contextmanager
    def decision(self) -> Iterator[None]:
        """Time what happens inside, unless it fails."""
        started = self._now()
        yield
        self._latencies.append(self._now() - started)

    def called(self, steps: int) -> None:
        """Note that `steps` control steps have passed since the last call."""
        now = self._now()
        if self._last_call is not None:
            self._spans.append((steps, now - self._last_call))
        self._last_call = now

    def pause(self) -> None:
        """Leave out the time until the next call, in which nobody acts."""
        self._last_call = None

    def read(self) -> Timing:
        """Return the figures so far."""
        seconds = sum(span for _, span in self._spans)
        rate = sum(steps for steps, _ in self._spans) / seconds if seconds > 0 else None
        if not self._latencies:
            return Timing(0, None, None, None, rate, self.asked_rate_hz)
        latencies = np.array(self._latencies)
        mean, slow, slowest = float(latencies.mean()), float(np.percentile(latencies, 95)), float(latencies.max())
        return Timing(len(latencies), mean, slow, slowest, rate, self.asked_rate_hz)
