"""The protocol of an object that receives the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Callback(Protocol):
    """Receives the figures of every logged step, in the main process; checkpoints save its state."""

    def __call__(self, train_step: int, figures: Mapping[str, float]) -> None:
        """Receive the figures of one logged step."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state as plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
