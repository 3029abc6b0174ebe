"""One interface to all temporal cores, chosen by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.temporal.core.base import TemporalOutput, TemporalState
from tempovla.model.temporal.core.config import TemporalEncoderConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY


class TemporalEncoder(nn.Module):
    """The core that `config.encoder_type` names. Call it with whole sequences; use `step` and `run` for streams."""

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.core = TEMPORAL_REGISTRY[config.encoder_type](config)

    def forward(
        self, observations: Tensor, attention_mask: Tensor | None = None, return_sequence: bool = True
    ) -> dict[str, Tensor]:
        """Encode whole sequences; see `TemporalCore.encode`."""
        return self.core.encode(observations, attention_mask, return_sequence)

    def get_last_hidden_state(self, observations: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the output (B, output_dim) at the newest valid step; the arguments are those of `forward`."""
        return self.core.get_last_hidden_state(observations, attention_mask)

    def initial_state(self, batch: int) -> TemporalState:
        """Return the state of rows that have seen nothing."""
        return self.core.initial_state(batch)

    def init_hidden(self, batch_size: int, device: torch.device | str | None = None) -> TemporalState:
        """Return `initial_state` on a device; None means the device of the weights."""
        return self.core.init_hidden(batch_size, device)

    def run(self, x: Tensor, state: TemporalState, valid: Tensor | None = None) -> tuple[TemporalOutput, TemporalState]:
        """Continue with a sequence; see `TemporalCore.run`."""
        return self.core.run(x, state, valid)

    def step(
        self, x: Tensor, state: TemporalState, valid: Tensor | None = None
    ) -> tuple[TemporalOutput, TemporalState]:
        """Continue with one step; see `TemporalCore.step`."""
        return self.core.step(x, state, valid)
