"""Predict the representation of the future from that of the present and the actions in between."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp


class TemporalPredictor(nn.Module):
    """z_t and the actions from t to t+k give z_{t+k} = z_t + delta.

    Both inputs are projected to `hidden_dim`, joined, and turned into the change by an MLP
    (2 * hidden_dim, hidden_dim, hidden_dim, state_dim).
    """

    def __init__(self, state_dim: int, action_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.state_projection = nn.Linear(state_dim, hidden_dim)
        self.action_projection = nn.Linear(action_dim, hidden_dim)
        self.delta = mlp((2 * hidden_dim, hidden_dim, hidden_dim, state_dim))

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """(B, state_dim) from z (B, state_dim) and the flattened actions (B, action_dim)."""
        z, action = in_dtype_of(self, z), in_dtype_of(self, action)
        joined = torch.cat([self.state_projection(z), self.action_projection(action)], dim=-1)
        return z + self.delta(joined)

    def imagine(self, z: Tensor, actions: Tensor) -> Tensor:
        """Return z (..., P, state_dim) after each of P chunks of actions (..., P, k, A), from z (..., state_dim)."""
        states = []
        for chunk in actions.unbind(dim=-3):
            z = self(z, chunk.flatten(-2))
            states.append(z)
        return torch.stack(states, dim=-2)


class InverseDynamics(nn.Module):
    """The actions between two representations: keeps in z what the robot can change."""

    def __init__(self, state_dim: int, action_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.mlp = mlp((2 * state_dim, hidden_dim, hidden_dim, action_dim))

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Flattened actions (B, action_dim) from two states (B, state_dim)."""
        return self.mlp(in_dtype_of(self, torch.cat([z, z_next], dim=-1)))
