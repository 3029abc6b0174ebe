"""The deterministic path of a recurrent state-space model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.block_linear import BlockLinear

OPENNESS = -1.0
"""Added to the update gate, so that a new model remembers rather than forgets (DreamerV2, Hafner et al., 2021)."""


class RecurrentCore(nn.Module):
    """A gated recurrent unit with LayerNorm in front of its gates, whose matrix may be block-diagonal.

    Args:
        state_dim: size D of the deterministic state.
        stochastic_dim: size V of the stochastic state.
        action_dim: dimensions A of an action.
        hidden_dim: of the layer that joins both.
        blocks: of the gates' matrix, each of which reads its block of the state and all of the joined input.
    """

    def __init__(self, state_dim: int, stochastic_dim: int, action_dim: int, hidden_dim: int, blocks: int = 1) -> None:
        super().__init__()
        self.blocks = blocks
        self.joined = nn.Sequential(
            nn.Linear(stochastic_dim + action_dim, hidden_dim), nn.LayerNorm(hidden_dim), nn.Mish()
        )
        self.gates = BlockLinear(state_dim + blocks * hidden_dim, 3 * state_dim, blocks)
        self.norm = nn.LayerNorm(3 * state_dim)

    def forward(self, deterministic: Tensor, stochastic: Tensor, action: Tensor) -> Tensor:
        """Return the next deterministic state (..., D) from that of now, the stochastic one (..., V) and an action."""
        inputs = self.joined(torch.cat([stochastic, action.to(stochastic)], dim=-1))
        if self.blocks > 1:
            parts = deterministic.unflatten(-1, (self.blocks, -1))
            shared = inputs[..., None, :].expand(*parts.shape[:-1], inputs.shape[-1])
            joined = torch.cat([parts, shared.to(parts)], dim=-1).flatten(-2)
        else:
            joined = torch.cat([deterministic, inputs.to(deterministic)], dim=-1)
        gates = self.norm(self.gates(joined).unflatten(-1, (self.blocks, 3, -1)).transpose(-3, -2).flatten(-3))
        reset, candidate, update = gates.chunk(3, dim=-1)
        proposed = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(deterministic, proposed.to(deterministic), torch.sigmoid(update + OPENNESS).to(deterministic))
