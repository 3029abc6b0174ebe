"""One interface to all temporal cores, chosen by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.temporal.core.base import TemporalOutput, TemporalState
from tempovla.model.temporal.core.config import TemporalEncoderConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY


class TemporalEncoder(nn.Module):
    """The core that `config.encoder_type` names; whole sequences by calling it, streams by `step` and `run`."""

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.core = TEMPORAL_REGISTRY[config.encoder_type](config)

    def forward(
        self, observations: Tensor, attention_mask: Tensor | None = None, return_sequence: bool = True
    ) -> dict[str, Tensor]:
        """As `TemporalCore.encode`, for every core."""
        return self.core.encode(observations, attention_mask, return_sequence)

    def get_last_hidden_state(self, observations: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, output_dim) of the newest valid step; arguments as in `forward`."""
        return self.core.get_last_hidden_state(observations, attention_mask)

    def initial_state(self, batch: int) -> TemporalState:
        """As `TemporalCore.initial_state`."""
        return self.core.initial_state(batch)

    def init_hidden(self, batch_size: int, device: torch.device | str | None = None) -> TemporalState:
        """As `TemporalCore.init_hidden`."""
        return self.core.init_hidden(batch_size, device)

    def run(self, x: Tensor, state: TemporalState, valid: Tensor | None = None) -> tuple[TemporalOutput, TemporalState]:
        """As `TemporalCore.run`."""
        return self.core.run(x, state, valid)

    def step(
        self, x: Tensor, state: TemporalState, valid: Tensor | None = None
    ) -> tuple[TemporalOutput, TemporalState]:
        """As `TemporalCore.step`."""
        return self.core.step(x, state, valid)
