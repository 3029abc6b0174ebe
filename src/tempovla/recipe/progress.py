"""How many episodes are done: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOGGER = logging.getLogger(__name__)
LINE_INTERVAL_S = 30.0


class EpisodeProgress:
    """Counts episodes.

    Args:
        what: they are, in the plural.
        total: how many there will be.
        done: how many there are already.
    """

    def __init__(self, what: str, total: int, *, done: int = 0) -> None:
        self._what, self._total, self._done, self._line_s = what, total, done, time.monotonic()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[now]}"), console=console)
        self._is_terminal = console.is_terminal
        self._row = self._bar.add_task(what, total=total, completed=done, now="")

    def __enter__(self) -> EpisodeProgress:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._bar.stop()

    def advance(self, task: str) -> None:
        """One more, of this task."""
        self._done += 1
        if self._is_terminal:
            self._bar.update(self._row, completed=self._done, now=task)
        elif self._done == self._total or time.monotonic() - self._line_s >= LINE_INTERVAL_S:
            self._line_s = time.monotonic()
            LOGGER.info("%d of %d %s, the last of %s", self._done, self._total, self._what, task)
