"""Tokens about what the last actions have changed in the scene."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Feedback(NamedTuple):
    """Feedback tokens (B, F, H); the change (B, H) that they stand for; and the change as the tokens tell it."""

    tokens: Tensor
    change: Tensor
    told: Tensor


class CausalFeedback(nn.Module):
    """What the actions of the last k steps changed: from task tokens then and now, and the actions in between.

    With c the mean of the projected actions, each frame is summed up by the slots that c asks for,
    z = sum_j softmax_j(<S_j, W c> / sqrt(H)) S_j, and the tokens are MLP(LN[LN(z_now - z_then); LN(W c)]).

    Args:
        dim: width H of the tokens.
        action_dim: dimensions A of an action.
        num_tokens: number of feedback tokens.
        scale: factor of the tokens.
        dropout: of the tokens, in training.
    """

    def __init__(
        self, dim: int, action_dim: int, num_tokens: int = 1, scale: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_tokens, self.scale = num_tokens, scale
        self.action_in = nn.Sequential(nn.Linear(action_dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.ask = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(2 * dim)
        self.net = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, num_tokens * dim))
        self.dropout = nn.Dropout(dropout)
        self.change_out = nn.Linear(dim, dim)

    def forward(self, then: Tensor, now: Tensor, actions: Tensor, valid: Tensor) -> Feedback:
        """Return what the actions have changed.

        Args:
            then: (B, K, H) task tokens k steps ago.
            now: (B, K, H) task tokens of now.
            actions: (B, k, A) done in between, normalised.
            valid: (B,) bool; elsewhere the tokens are 0.
        """
        there = valid[:, None, None]
        then, now, actions = (torch.where(there, each, 0.0).to(self.ask.weight.dtype) for each in (then, now, actions))
        wanted = self.ask(self.action_in(actions).mean(dim=1))
        change = _summed_up(now, wanted) - _summed_up(then, wanted)
        joined = torch.cat([F.layer_norm(part, part.shape[-1:]) for part in (change, wanted)], dim=-1)
        tokens = self.scale * self.dropout(self.net(self.norm(joined)).unflatten(1, (self.num_tokens, -1)))
        return Feedback(torch.where(there, tokens, 0.0), change, self.change_out(tokens.mean(dim=1)))


def _summed_up(tokens: Tensor, wanted: Tensor) -> Tensor:
    """(B, H): the mean of tokens (B, K, H), weighted by how much of what is wanted (B, H) each holds."""
    scores = torch.einsum("bkh,bh->bk", tokens, wanted) / math.sqrt(tokens.shape[-1])
    return torch.einsum("bk,bkh->bh", scores.softmax(dim=1), tokens)
