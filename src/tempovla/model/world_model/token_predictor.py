"""Predict the tokens that describe a scene k steps ahead from those of now and the actions in between."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.transformer import TransformerBlock

ACTION, STATE, TOKEN = range(3)
"""Rows of the embedding of what kind a token of the sequence is."""


class TokenPredictor(Recompute):
    """A transformer over [actions or other tokens; state; tokens of now], whose answer is the change of the tokens.

    Every action is a token of its own, with the embedding of its step, and every predicted token has the embedding of
    its place among the K. At first the predicted change is 0, so that training starts from persistence.

    Args:
        token_dim: width D of the tokens that are predicted.
        num_tokens: number K of them.
        action_dim: dimensions A of an action, or the width of the tokens that are given in place of actions.
        max_horizon: most steps that are predicted ahead.
        state_dim: size P of the robot's state; None reads none.
        hidden_dim: width of the transformer.
        num_layers: its depth.
        num_heads: attention heads.
    """

    def __init__(
        self,
        token_dim: int,
        num_tokens: int,
        action_dim: int,
        max_horizon: int,
        state_dim: int | None = None,
        hidden_dim: int = 512,
        num_layers: int = 4,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        self.max_horizon = max_horizon
        self.action_in = nn.Linear(action_dim, hidden_dim)
        self.state_in = None if state_dim is None else nn.Linear(state_dim, hidden_dim)
        self.token_in = nn.Linear(token_dim, hidden_dim)
        self.kind = nn.Parameter(0.02 * torch.randn(3, hidden_dim))
        self.step = nn.Parameter(0.02 * torch.randn(max_horizon, hidden_dim))
        self.slot = nn.Parameter(0.02 * torch.randn(num_tokens, hidden_dim))
        self.blocks = nn.ModuleList(TransformerBlock(hidden_dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_dim)
        last = nn.Linear(hidden_dim, token_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.change = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.GELU(), last)

    def forward(self, tokens: Tensor, actions: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the tokens (B, K, D) float32 after as many steps as there are actions.

        Args:
            tokens: (B, K, D) of now.
            actions: (B, k, A) done from now on, k <= max_horizon, normalised; or the tokens in their place.
            state: (B, P) of the robot now, normalised, if it is read.

        Raises:
            ValueError: if there are more actions than `max_horizon`.
        """
        steps = actions.shape[1]
        if steps > self.max_horizon:
            raise ValueError(f"{steps} actions are more than max_horizon={self.max_horizon}; build it for more")
        dtype = self.token_in.weight.dtype
        parts = [
            self.action_in(actions.to(dtype)) + self.step[:steps] + self.kind[ACTION],
            self.token_in(tokens.to(dtype)) + self.slot + self.kind[TOKEN],
        ]
        if self.state_in is not None:
            assert state is not None, "a predictor with a state_dim reads the state"
            parts.insert(1, self.state_in(state.to(dtype))[:, None] + self.kind[STATE])
        hidden = torch.cat(parts, dim=1)
        for block in self.blocks:
            hidden = self.run_layer(block, hidden)
        return tokens.float() + self.change(self.norm(hidden[:, -tokens.shape[1] :])).float()
