"""The protocol of what looks at a run's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Watch(Protocol):
    """Told the figures of every step that is logged, in the main process; what it remembers goes into checkpoints."""

    def __call__(self, train_step: int, figures: Mapping[str, float]) -> None:
        """Look at the figures of one logged step."""

    def state_dict(self) -> Mapping[str, Any]:
        """What it remembers, as plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what was saved."""
