"""An alarm for collapse, in which z becomes the same for every observation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

LOGGER = logging.getLogger(__name__)

FIGURE = "z_std"
LOW = 0.1
"""A tenth of the standard deviation of 1 that the variance term asks of every dimension."""
FALLEN = 0.2
"""Share of its highest value so far; healthy runs rise, and waver by less than half."""
YOUNG = 100
"""Train steps in which nothing has been learned yet."""
REMEDIES = {
    1: "give the variance term hold of z itself (model.jepa.regularize=state), or raise model.jepa.variance_weight",
    2: "train phase 1 again with model.jepa.regularize=state, or let phase 2 train the encoder "
    "(model.freeze_encoder=false)",
}


class CollapseAlarm:
    """Watches the mean standard deviation of z's dimensions over a batch, and warns when it falls.

    It has fallen when it is below a fifth of its highest value so far; and it is too low when it is below a tenth of
    what the variance term asks for in phase 2, or in the second half of phase 1: a fresh encoder starts low.
    The warning comes at most twenty times in a run.

    Args:
        phase: 1 or 2: the remedies differ.
        total_steps: train steps of the whole run.
        rows: that one train step sees, over all processes; a single one has no standard deviation, and raises no alarm.
    """

    def __init__(self, phase: int, total_steps: int, rows: int) -> None:
        self.phase, self.total_steps, self.rows = phase, total_steps, rows
        self._settled = max(YOUNG, total_steps // 2) if phase == 1 else YOUNG
        self._highest = 0.0
        self._silent_until = 0

    def __call__(self, train_step: int, figures: Mapping[str, float]) -> None:
        """Look at the figures of one logged step."""
        if FIGURE not in figures or self.rows < 2:
            return
        spread = figures[FIGURE]
        self._highest = max(self._highest, spread)
        fallen = spread < FALLEN * self._highest
        low = spread < LOW and train_step >= self._settled
        if (fallen or low) and train_step >= self._silent_until:
            self._silent_until = train_step + max(1, self.total_steps // 20)
            LOGGER.warning(
                "phase %d, step %d: the representation is collapsing: its dimensions have a standard deviation of %.2g "
                "(highest so far %.2g, healthy towards 1); %s",
                *(self.phase, train_step, spread, self._highest, REMEDIES[self.phase]),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the highest value so far, and the step before which the last warning is not repeated."""
        return {"highest": self._highest, "silent_until": self._silent_until}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what an alarm of the same run did."""
        self._highest, self._silent_until = state["highest"], state["silent_until"]
