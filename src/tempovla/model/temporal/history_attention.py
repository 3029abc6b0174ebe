"""Causal attention over the steps of a history, which knows how old each step is and whether there is one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class StepMask:
    """Which steps a step attends to, and how old they are.

    Attributes:
        valid: (B, T) bool, whether there is a step.
        seen: (B, T, T) bool, whether the step of a row sees that of a column: itself and what is before it.
        age: (B, T, T) int64, from the step of a row back to that of a column, counted over valid steps; 0 where unseen.
    """

    valid: Tensor
    seen: Tensor
    age: Tensor

    @classmethod
    def causal(cls, valid: Tensor, content: Tensor | None = None) -> StepMask:
        """Of steps `valid` (B, T), of which those where `content` (B, T) is False hold nothing to be seen."""
        number = valid.cumsum(dim=1)
        earlier = torch.ones(valid.shape[1], valid.shape[1], dtype=torch.bool, device=valid.device).tril()
        seen = earlier & (valid if content is None else valid & content)[:, None]
        return cls(valid, seen, (number[:, :, None] - number[:, None]).masked_fill(~seen, 0))


class AgedAttention(nn.Module):
    """Multi-head attention to steps and to a learned null, with embeddings of the steps' ages.

    The score of a key is that of its content plus that of a learned embedding of its age seen from the query (Shaw et
    al., 2018, "Self-attention with relative position representations", equation 4, each head its own): so the result
    is the same wherever the steps lie. The null is always there to be seen: a query without any step attends to it.

    Args:
        dim: width D.
        num_heads: attention heads.
        max_age: ages are below it; None for no embeddings of ages.
        dropout: probability of leaving out an attention weight.
    """

    def __init__(self, dim: int, num_heads: int, max_age: int | None, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.null = nn.Parameter(0.02 * torch.randn(2, num_heads, 1, dim // num_heads))
        ages = None if max_age is None else nn.Parameter(0.02 * torch.randn(num_heads, dim // num_heads, max_age))
        self.register_parameter("age", ages)

    def forward(self, x: Tensor, context: Tensor, mask: StepMask) -> Tensor:
        """(B, T, D) from queries and a context of this shape."""
        query = self.query(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.key_value(context).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query = query * query.shape[-1] ** -0.5
        scores = query @ key.transpose(2, 3)
        if self.age is not None:
            ages = mask.age[:, None].expand_as(scores)
            scores = scores + (query @ self.age).gather(3, ages)
        scores = scores.masked_fill(~mask.seen[:, None], -torch.inf)
        scores = torch.cat([query @ self.null[0].transpose(1, 2), scores], dim=3)
        weights = F.dropout(scores.softmax(dim=3), self.dropout, self.training).to(value.dtype)
        mixed = weights[..., :1] * self.null[1] + weights[..., 1:] @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class HistoryBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm and around a residual."""

    def __init__(self, dim: int, num_heads: int, max_age: int | None, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = AgedAttention(dim, num_heads, max_age, dropout)
        self.ffn = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: StepMask) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        return x + self.dropout(self.ffn(x))
