"""A progress bar that counts things."""

from __future__ import annotations

import logging
import time

from tempovla.training.progress import ProgressBar

LOGGER = logging.getLogger(__name__)


class CountProgress(ProgressBar):
    """Counts things.

    Args:
        what: name of the things, in the plural.
        total: their number.
        done: number of those that are done already.
        silent: show nothing at all.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, silent: bool = False) -> None:
        super().__init__(what, total, done=done, silent=silent)
        self.done = done

    def advance(self, count: int = 1, now: str = "") -> None:
        """Advance by `count`; `now` labels the newest item."""
        self.count(count, now)
        if self.line_is_due(time.monotonic(), last=self.done == self.total):
            LOGGER.info("%d of %d %s%s", self.done, self.total, self.what, f", the last of {now}" if now else "")

    def count(self, count: int, now: str) -> None:
        """Advance without a line in the log."""
        self.done += count
        self.show(self.done, now)
