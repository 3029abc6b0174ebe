"""An alarm for collapse, in which what is learned of an observation becomes the same for every one."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOGGER = logging.getLogger(__name__)

FALLEN = 0.2
"""Share of its highest value so far; healthy runs rise, and waver by less than half."""
YOUNG = 100
"""Train steps in which nothing has been learned yet."""


@dataclass(frozen=True)
class Watched:
    """A figure that tells of collapse by falling, such as a mean standard deviation over the rows of a batch.

    Attributes:
        figure: its name among those that are logged.
        subject: what collapses, and what the figure is of it, as the warning begins.
        low: value that is too low by itself.
        healthy: what is healthy, as the warning says it.
        remedy: what to do.
        phase: number of the training's phase; None where there is one alone.
        starts_low: whether fresh weights have a low value; it then counts from the second half of the run on.
        fallen: share of its highest value so far below which it has fallen.
    """

    figure: str
    subject: str
    low: float
    healthy: str
    remedy: str
    phase: int | None = None
    starts_low: bool = False
    fallen: float = FALLEN


_Z = ("z_std", "the representation is collapsing: its dimensions have a standard deviation of")
_TENTH = 0.1
"""Of the standard deviation of 1 that the variance term asks of every dimension."""
PHASES = {
    1: Watched(
        *_Z,
        _TENTH,
        "healthy towards 1",
        "give the variance term hold of z itself (model.jepa.regularize=state), or raise model.jepa.variance_weight",
        phase=1,
        starts_low=True,
    ),
    2: Watched(
        *_Z,
        _TENTH,
        "healthy towards 1",
        "train phase 1 again with model.jepa.regularize=state, or let phase 2 train the encoder "
        "(model.freeze_encoder=false)",
        phase=2,
    ),
}
"""What StateVLA's phases watch."""


class CollapseAlarm:
    """Watches a figure, and warns when it falls.

    It has fallen when it is below a share of its highest value so far; and it is too low when it is below what is
    `low` for it. The warning comes at most twenty times in a run.

    Args:
        watched: the figure, and what is said of it.
        total_steps: train steps of the whole run.
        rows: that one train step sees, over all processes; a single one has no standard deviation, and raises no alarm.
        lines: number of figures whose mean is looked at, as that of few rows wavers; nothing is said before so many.
    """

    def __init__(self, watched: Watched, total_steps: int, rows: int, lines: int = 1) -> None:
        self.watched, self.total_steps, self.rows = watched, total_steps, rows
        self._latest: deque[float] = deque(maxlen=lines)
        self._settled = max(YOUNG, total_steps // 2) if watched.starts_low else YOUNG
        self._highest = 0.0
        self._silent_until = 0

    def __call__(self, train_step: int, figures: Mapping[str, float]) -> None:
        """Look at the figures of one logged step."""
        watched = self.watched
        if watched.figure not in figures or self.rows < 2:
            return
        self._latest.append(figures[watched.figure])
        if len(self._latest) < (self._latest.maxlen or 1):
            return
        spread = statistics.fmean(self._latest)
        self._highest = max(self._highest, spread)
        fallen = spread < watched.fallen * self._highest
        low = spread < watched.low and train_step >= self._settled
        if (fallen or low) and train_step >= self._silent_until:
            self._silent_until = train_step + max(1, self.total_steps // 20)
            LOGGER.warning(
                "%sstep %d: %s %.2g (highest so far %.2g, %s); %s",
                *("" if watched.phase is None else f"phase {watched.phase}, ", train_step, watched.subject),
                *(spread, self._highest, watched.healthy, watched.remedy),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the highest value so far, the step before which the last warning is not repeated, and the figures that
        the next mean is of.
        """
        return {"highest": self._highest, "silent_until": self._silent_until, "latest": list(self._latest)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what an alarm of the same run did."""
        self._highest, self._silent_until = state["highest"], state["silent_until"]
        self._latest.extend(state.get("latest", ()))
