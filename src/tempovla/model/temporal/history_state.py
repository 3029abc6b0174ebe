"""The last steps of a batch of episodes: a value that is never changed, and a holder of one for the object style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class HistoryState:
    """The last H states and the actions taken there, newest last; a row with fewer is padded on the left.

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
        """The state of `batch` rows that have seen nothing."""
        return cls(
            torch.zeros(batch, history_length, obs_dim, device=device, dtype=dtype),
            torch.zeros(batch, history_length, action_dim, device=device, dtype=dtype),
            torch.zeros(batch, history_length, dtype=torch.bool, device=device),
        )

    def push(self, state: Tensor, action: Tensor) -> HistoryState:
        """The history with one more step of every row; the oldest one is forgotten. Gradients pass through.

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

    def reset(self, rows: Tensor) -> HistoryState:
        """The history with the rows where `rows` (B,) bool is True as new.

        Raises:
            ValueError: if `rows` is no bool for each row.
        """
        if rows.dtype != torch.bool or rows.shape != self.valid.shape[:1]:
            raise ValueError(
                f"rows {tuple(rows.shape)} of {rows.dtype} must be ({len(self.valid)},) bool, True for a new start"
            )
        rows = rows.to(self.valid.device)[:, None]
        return HistoryState(
            self.states.masked_fill(rows[..., None], 0.0),
            self.actions.masked_fill(rows[..., None], 0.0),
            self.valid & ~rows,
        )

    def to(self, device: torch.device | str) -> HistoryState:
        """The same history on another device."""
        return HistoryState(self.states.to(device), self.actions.to(device), self.valid.to(device))


class HistoryRecorder:
    """Holds the `HistoryState` of one environment, whose steps are vectors, or of a batch of them.

    Which of the two, the first step says; after `reset()` that is open again. Steps are kept without gradients.

    Args:
        history_length: steps H that are remembered.
        obs_dim: size of a state.
        action_dim: size of an action.
    """

    def __init__(self, history_length: int, obs_dim: int, action_dim: int) -> None:
        self._sizes = (history_length, obs_dim, action_dim)
        self.state: HistoryState | None = None

    def add(self, state: Any, action: Any) -> None:
        """Remember a step: state (obs_dim,) and action (action_dim,), or (B, obs_dim) and (B, action_dim).

        Raises:
            ValueError: if the sizes do not fit, or the number of rows changes without a reset.
        """
        pair = [torch.as_tensor(value, dtype=torch.float32).detach() for value in (state, action)]
        for name, value, size in zip(("state", "action"), pair, self._sizes[1:], strict=True):
            if value.dim() not in (1, 2) or value.shape[-1] != size or value.dim() != pair[0].dim():
                shapes = " and ".join(str(tuple(tensor.shape)) for tensor in pair)
                raise ValueError(
                    f"{name}: state and action {shapes} must both be of 1 or 2 dims, this one of {size} last"
                )
        rows = [value if value.dim() == 2 else value[None] for value in pair]
        before = self.state
        if before is None:
            before = HistoryState.init(len(rows[0]), *self._sizes, device=rows[0].device)
        if len(rows[0]) != len(before.valid):
            raise ValueError(
                f"a step of {len(rows[0])} rows does not follow a history of {len(before.valid)}; reset() it first"
            )
        self.state = before.push(*rows)

    def tensors(self, device: torch.device | str | None = None) -> tuple[Tensor, Tensor, Tensor] | None:
        """States (B, T, obs_dim), actions (B, T, action_dim) and valid (B, T), T of the longest row; None if empty."""
        longest = 0 if self.state is None else int(self.state.valid.sum(dim=1).max())
        if self.state is None or not longest:
            return None
        state = self.state if device is None else self.state.to(device)
        return state.states[:, -longest:], state.actions[:, -longest:], state.valid[:, -longest:]

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget everything, or only the rows where `rows` (B,) bool is True."""
        if rows is None:
            self.state = None
        elif self.state is not None:
            self.state = self.state.reset(rows)
