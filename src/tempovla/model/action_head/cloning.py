"""A chunk of actions regressed from tokens: a loss beside a generative one, whose noise hides small details."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.mlp import mlp


class CloningReadout(nn.Module):
    """Every token through a narrow projection, all joined with the robot's state, then an MLP to the chunk.

    Args:
        dim: width of the tokens.
        num_tokens: number K of them.
        state_dim: size P of the robot's state; None reads none.
        action_horizon: steps T of a chunk.
        action_dim: dimensions A of an action.
        token_dim: width of the projection.
        feature_dim: width of the MLP.
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        state_dim: int | None,
        action_horizon: int,
        action_dim: int,
        token_dim: int = 32,
        feature_dim: int = 256,
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.narrow = nn.Linear(dim, token_dim)
        joined = num_tokens * token_dim + (state_dim or 0)
        self.mlp = mlp((joined, 2 * feature_dim, feature_dim, action_horizon * action_dim))

    def forward(self, tokens: Tensor, state: Tensor | None) -> Tensor:
        """Return actions (B, T, A), from tokens (B, K, dim) and the state (B, P) if it is read."""
        joined = self.narrow(tokens).flatten(1)
        if state is not None:
            joined = torch.cat([joined, state.to(joined.dtype)], dim=1)
        return self.mlp(joined).unflatten(1, (-1, self.action_dim))
