"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOGGER = logging.getLogger(__name__)
LINE_INTERVAL_S = 30.0


class ProgressBar:
    """Base of all bars: a terminal shows a bar with ETA; elsewhere `line_is_due` returns when to log a line.

    Args:
        what: the work, for messages.
        total: how many steps it has.
        done: number of those that are done already.
        silent: show nothing at all.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, silent: bool = False) -> None:
        self.what, self.total, self.silent = what, total, silent
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=console)
        self._row = self._bar.add_task(what, total=total, completed=done, now="")
        self.on_terminal = console.is_terminal and not silent
        self._started_s = self._line_s = time.monotonic()

    def __enter__(self) -> Self:
        if self.on_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.on_terminal:
            self._bar.stop()

    def show(self, done: int, now: str) -> None:
        """Advance the bar; the label `now` is shown after it."""
        self._bar.update(self._row, completed=done, now=now)

    def line_is_due(self, now_s: float, *, last: bool = False) -> bool:
        """Return whether a log should have a line: `LINE_INTERVAL_S` seconds after the one before, and for the last
        step, or another one that counts.
        """
        due = not (self.silent or self.on_terminal) and (last or now_s - self._line_s >= LINE_INTERVAL_S)
        if due:
            self._line_s = now_s
        return due


class TrainingProgress(ProgressBar):
    """Shows throughput and losses of a run."""

    def __init__(self, phase: str, train_step: int, total_steps: int, *, silent: bool) -> None:
        super().__init__(phase, total_steps, done=train_step, silent=silent)
        self._counted_from = train_step
        self._is_first = True

    def step(self, train_step: int, losses: Mapping[str, float], rows: int) -> None:
        """Report a finished step, its losses by name and the rows it saw.

        A log has a line for the first step, which shows that the run is under way. The throughput of later steps leaves
        the first one out, in which libraries and files are made ready.
        """
        if self.silent:
            return
        now_s = time.monotonic()
        steps_per_s = (train_step - self._counted_from) / max(now_s - self._started_s, 1e-9)
        words = [f"{name} {value:.3g}" for name, value in losses.items()]
        figures = ", ".join([*words, f"{_short(steps_per_s * rows)} samples/s"])
        self.show(train_step, figures)
        if self.line_is_due(now_s, last=self._is_first or train_step == self.total):
            left_s = (self.total - train_step) / max(steps_per_s, 1e-9)
            LOGGER.info("%s: step %d of %d, %s, %.0f s left", self.what, train_step, self.total, figures, left_s)
        if self._is_first:
            self._counted_from, self._started_s, self._is_first = train_step, now_s, False


def _short(rate: float) -> str:
    """A rate that is not rounded to nothing."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
