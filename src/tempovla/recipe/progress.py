"""How much of a long work is done: a bar on a terminal, lines in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tempovla.rollout.runner import EpisodeResult

LOGGER = logging.getLogger(__name__)
LINE_INTERVAL_S = 30.0


class CountProgress:
    """Counts things; in a log there is a line now and then.

    Args:
        what: they are, in the plural.
        total: how many there will be.
        done: how many there are already.
    """

    def __init__(self, what: str, total: int, *, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=console)
        self._is_terminal = console.is_terminal
        self._row = self._bar.add_task(what, total=total, completed=done, now="")
        self._line_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._bar.stop()

    def advance(self, count: int = 1, now: str = "") -> None:
        """So many more; `now` is said of the last."""
        self._count(count, now)
        if not self._is_terminal and (self.done == self.total or time.monotonic() - self._line_s >= LINE_INTERVAL_S):
            self._line_s = time.monotonic()
            LOGGER.info("%d of %d %s%s", self.done, self.total, self.what, f", the last of {now}" if now else "")

    def _count(self, count: int, now: str) -> None:
        self.done += count
        self._bar.update(self._row, completed=self.done, now=now)


class EvaluationProgress(CountProgress):
    """Counts episodes and successes; in a log there is a line for every episode.

    Args:
        total: how many there will be.
        before: those that ended in an earlier call.
    """

    def __init__(self, total: int, before: Sequence[EpisodeResult] = ()) -> None:
        super().__init__("episodes", total, done=len(before))
        self.solved = sum(result.success for result in before)

    def add(self, result: EpisodeResult) -> None:
        """Report an episode that ended."""
        self.solved += result.success
        self._count(1, f"{self.solved} solved")
        if self._is_terminal:
            return
        spec, outcome = result.spec, "success" if result.success else "failure"
        start = "" if spec.init_state is None else f", initial state {spec.init_state}"
        LOGGER.info(
            "%d of %d: %s%s, seed %d: %s after %d steps",
            *(self.done, self.total, spec.task, start, spec.seed, outcome, result.steps),
        )
