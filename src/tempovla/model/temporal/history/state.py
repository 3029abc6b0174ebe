"""The last steps of a batch of episodes, as a value that is never changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.model.layers.row_state import RowState


@dataclass(frozen=True)
class HistoryState(RowState):
    """The last H states and the actions taken in them, newest last. A row with fewer steps is padded on the left.

    Attributes:
        states: (B, H, obs_dim), 0 where there was no step.
        actions: (B, H, action_dim), 0 where there was no step.
        valid: (B, H) bool, whether there was a step.
    """

    states: Tensor
    actions: Tensor
    valid: Tensor

    @classmethod
    def init(
        cls,
        batch: int,
        history_length: int,
        obs_dim: int,
        action_dim: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> HistoryState:
        """Return the history of `batch` rows that have seen nothing."""
        return cls(
            torch.zeros(batch, history_length, obs_dim, device=device, dtype=dtype),
            torch.zeros(batch, history_length, action_dim, device=device, dtype=dtype),
            torch.zeros(batch, history_length, dtype=torch.bool, device=device),
        )

    def push(self, state: Tensor, action: Tensor) -> HistoryState:
        """Return the history with one more step in every row, without the oldest one. Gradients pass through.

        Args:
            state: (B, obs_dim).
            action: (B, action_dim), taken in that state.

        Raises:
            ValueError: if either has another shape.
        """
        for name, value, kept in (("state", state, self.states), ("action", action, self.actions)):
            if value.shape != (len(kept), kept.shape[2]):
                raise ValueError(
                    f"{name} {tuple(value.shape)} must be ({len(kept)}, {kept.shape[2]}), a row for each here"
                )
        return HistoryState(
            torch.cat([self.states[:, 1:], state[:, None].to(self.states)], dim=1),
            torch.cat([self.actions[:, 1:], action[:, None].to(self.actions)], dim=1),
            torch.cat([self.valid[:, 1:], torch.ones_like(self.valid[:, :1])], dim=1),
        )
