"""How far an evaluation is: a bar on a terminal, a line for every episode in a log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tempovla.rollout.runner import EpisodeResult

LOGGER = logging.getLogger(__name__)


class EvaluationProgress:
    """Counts episodes and successes.

    Args:
        episodes: how many there will be.
        before: those that ended in an earlier call.
    """

    def __init__(self, episodes: int, before: Sequence[EpisodeResult] = ()) -> None:
        self.episodes, self.ended = episodes, len(before)
        self.solved = sum(result.success for result in before)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._is_terminal = console.is_terminal
        self._task = self._bar.add_task(f"{self.solved} solved", total=episodes, completed=self.ended)

    def __enter__(self) -> EvaluationProgress:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._bar.stop()

    def add(self, result: EpisodeResult) -> None:
        """Report an episode that ended."""
        self.ended += 1
        self.solved += result.success
        if self._is_terminal:
            self._bar.update(self._task, completed=self.ended, description=f"{self.solved} solved")
            return
        spec, outcome = result.spec, "success" if result.success else "failure"
        start = "" if spec.init_state is None else f", initial state {spec.init_state}"
        LOGGER.info(
            "%d of %d: %s%s, seed %d: %s after %d steps",
            *(self.ended, self.episodes, spec.task, start, spec.seed, outcome, result.steps),
        )
