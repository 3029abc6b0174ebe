"""How much of a collection or an evaluation is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from tempovla.rollout.runner import EpisodeResult
from tempovla.train.progress import ProgressBar

LOGGER = logging.getLogger(__name__)


class CountProgress(ProgressBar):
    """Counts things.

    Args:
        what: they are, in the plural.
        total: how many there will be.
        done: how many there are already.
        silent: show nothing at all.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, silent: bool = False) -> None:
        super().__init__(what, total, done=done, silent=silent)
        self.done = done

    def advance(self, count: int = 1, now: str = "") -> None:
        """So many more; `now` is said of the last."""
        self.count(count, now)
        if self.line_is_due(time.monotonic(), last=self.done == self.total):
            LOGGER.info("%d of %d %s%s", self.done, self.total, self.what, f", the last of {now}" if now else "")

    def count(self, count: int, now: str) -> None:
        """So many more, without a line."""
        self.done += count
        self.show(self.done, now)


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
        self.count(1, f"{self.solved} solved")
        if self.on_terminal:
            return
        spec, outcome = result.spec, "success" if result.success else "failure"
        start = "" if spec.init_state is None else f", initial state {spec.init_state}"
        LOGGER.info(
            "%d of %d: %s%s, seed %d: %s after %d steps",
            *(self.done, self.total, spec.task, start, spec.seed, outcome, result.steps),
        )
