"""The actions that lead from one frame to another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.token_readout import TokenReadout


class InverseChunk(nn.Module):
    """From the tokens of two frames to the actions in between.

    Args:
        dim: width D of the tokens.
        num_tokens: number M of tokens of a frame.
        steps: number k of actions in between.
        action_dim: dimensions A of an action.
        token_dim: width to which each token is brought.
        feature_dim: width to which all of them are brought together.
    """

    def __init__(
        self, dim: int, num_tokens: int, steps: int, action_dim: int, token_dim: int = 32, feature_dim: int = 256
    ) -> None:
        super().__init__()
        self.readout = TokenReadout(dim, 2 * num_tokens, None, token_dim, feature_dim)
        self.head = mlp((feature_dim, feature_dim, steps * action_dim))
        self.shape = (steps, action_dim)

    def forward(self, now: Tensor, later: Tensor) -> Tensor:
        """Return actions (B, k, A) from tokens (B, M, D) of both frames."""
        tokens = torch.cat([now, later], dim=1)
        actions: Tensor = self.head(self.readout(tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool), None))
        return actions.unflatten(1, self.shape)
