"""All tokens of a model as one vector that keeps where things are, which attention to them is slow to learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.mlp import mlp


class TokenReadout(nn.Module):
    """Every token through a narrow projection, all joined with the robot's state, then an MLP.

    Args:
        dim: width of the tokens.
        num_tokens: number N of them.
        state_dim: size P of the robot's state; None reads none.
        token_dim: width of the projection.
        feature_dim: size F of the vector.
    """

    def __init__(
        self, dim: int, num_tokens: int, state_dim: int | None, token_dim: int = 32, feature_dim: int = 256
    ) -> None:
        super().__init__()
        self.narrow = nn.Linear(dim, token_dim)
        self.mlp = mlp((num_tokens * token_dim + (state_dim or 0), 2 * feature_dim, feature_dim))

    def forward(self, tokens: Tensor, valid: Tensor, state: Tensor | None) -> Tensor:
        """Return (B, F).

        Args:
            tokens: (B, N, dim).
            valid: (B, N) bool; the others are left out.
            state: (B, P) of the robot, if it is read.
        """
        clean = torch.where(valid[..., None], tokens, 0.0).to(self.narrow.weight.dtype)
        joined = (self.narrow(clean) * valid[..., None]).flatten(1)
        if state is not None:
            joined = torch.cat([joined, state.to(joined.dtype)], dim=1)
        vector: Tensor = self.mlp(joined)
        return vector
