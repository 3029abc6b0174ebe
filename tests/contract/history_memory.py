"""Memories of the package as the laws take them: one input a step, one output a step."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.temporal.history.encoder import HistoryEncoder
from tempovla.model.temporal.history.state import HistoryState


class HistoryMemory:
    """A history encoder over steps (B, obs_dim + action_dim): a step is push and encode, a sequence all windows."""

    def __init__(self, encoder: HistoryEncoder) -> None:
        self.encoder = encoder
        self.sizes = [encoder.config.obs_dim, encoder.config.action_dim]

    def initial_state(self, batch: int) -> HistoryState:
        return self.encoder.initial_state(batch)

    def forward(self, x: Tensor, state: HistoryState) -> tuple[Tensor, HistoryState]:
        return self.encoder.sequence(*torch.split(x, self.sizes, dim=-1), state)

    def step(self, x: Tensor, state: HistoryState) -> tuple[Tensor, HistoryState]:
        return self.encoder.step(*torch.split(x, self.sizes, dim=-1), state)
