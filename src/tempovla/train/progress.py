"""How far a run is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOGGER = logging.getLogger(__name__)
LINE_INTERVAL_S = 30.0


class TrainingProgress:
    """A bar with ETA, throughput and losses on a terminal; elsewhere one log line every `LINE_INTERVAL_S` seconds."""

    def __init__(self, phase: str, train_step: int, total_steps: int, *, silent: bool) -> None:
        self.phase, self.total_steps, self.silent = phase, total_steps, silent
        self._first_step, self._started_s = train_step, time.monotonic()
        self._line_s = self._started_s
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[figures]}"), console=console)
        self._is_terminal = console.is_terminal and not silent
        self._task = self._bar.add_task(phase, total=total_steps, completed=train_step, figures="")

    def __enter__(self) -> TrainingProgress:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._bar.stop()

    def step(self, train_step: int, losses: Mapping[str, float], rows: int) -> None:
        """Report a finished step, its losses by name and the rows it saw."""
        if self.silent:
            return
        now_s = time.monotonic()
        steps_per_s = (train_step - self._first_step) / max(now_s - self._started_s, 1e-9)
        words = [f"{name} {value:.3g}" for name, value in losses.items()]
        figures = ", ".join([*words, f"{steps_per_s * rows:.0f} samples/s"])
        if self._is_terminal:
            self._bar.update(self._task, completed=train_step, figures=figures)
        elif now_s - self._line_s >= LINE_INTERVAL_S:
            self._line_s = now_s
            left_s = (self.total_steps - train_step) / max(steps_per_s, 1e-9)
            LOGGER.info("%s: step %d of %d, %s, %.0f s left", self.phase, train_step, self.total_steps, figures, left_s)
