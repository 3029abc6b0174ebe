"""Frame sampling: an MLP over a few past steps. It is the baseline that a memory must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.core.base import TemporalCore, TemporalState, newest_entries

if TYPE_CHECKING:
    from tempovla.model.temporal.core.config import TemporalEncoderConfig


@dataclass(frozen=True)
class FrameState(RowState):
    """The newest valid steps of every row, as far back as the oldest sample, oldest first.

    Attributes:
        frames: (B, A, hidden_dim), zeros where there is none.
        count: (B,) int64, how many are filled.
    """

    frames: Tensor
    count: Tensor


class TemporalFrames(TemporalCore):
    """An MLP over the valid steps at `frame_offsets`, with a learned vector for those before the row began.

    It has no memory beyond its samples, so `aggregated` is the last hidden state.
    """

    encoder_type = "frames"

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        dim = config.hidden_dim
        self.ages = [-offset for offset in config.frame_offsets]
        self.missing = nn.Parameter(0.02 * torch.randn(dim))
        layers: list[nn.Module] = []
        for index in range(config.num_layers):
            inputs = len(self.ages) * dim if index == 0 else dim
            layers += [nn.Linear(inputs, dim), nn.GELU(), nn.Dropout(config.dropout)]
        self.mlp = nn.Sequential(*layers, nn.LayerNorm(dim))

    def initial_core(self, batch: int) -> FrameState:
        """Return a state without frames."""
        frames = self.no_hidden.new_zeros(batch, max(self.ages), self.config.hidden_dim)
        return FrameState(frames, torch.zeros(batch, dtype=torch.int64, device=frames.device))

    def mix(self, x: Tensor, state: TemporalState | None, lengths: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Run the core; see `TemporalCore.mix`."""
        before: FrameState = self.initial_core(x.shape[0]) if state is None else state.core
        size, length = before.frames.shape[1], x.shape[1]
        place = torch.arange(-size, length, device=x.device)
        begun = (place >= -before.count.unsqueeze(1)).unsqueeze(2)
        frames = torch.where(begun, torch.cat([before.frames.to(x.dtype), x], dim=1), self.missing.to(x.dtype))
        hidden = self.mlp(torch.cat([frames[:, size - age : size - age + length] for age in self.ages], dim=2))
        added = torch.full_like(before.count, length) if lengths is None else lengths
        count = (before.count + added).clamp(max=size)
        return hidden, hidden, FrameState(newest_entries(before.frames, x, lengths), count)
