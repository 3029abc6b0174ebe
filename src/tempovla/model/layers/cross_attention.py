"""Attention of one sequence to another, of which some tokens may be invalid."""

from __future__ import annotations

from torch import Tensor, nn

from tempovla.model.layers.transformer import attend


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a context of another length.

    Args:
        dim: width D of both.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} is not divisible by num_heads={num_heads}; choose heads that divide it")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, Q, D) from queries (B, Q, D) and context (B, L, D), of which `valid` (B, L) is seen: one at least."""
        query = self.query(queries).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.key_value(context).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if valid is None else valid[:, None, None, :]
        mixed = attend(query, key, value, mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, queries: Tensor, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the attention weights (B, heads, Q, L); arguments as of `forward`."""
        query = self.query(queries).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key = self.key_value(context).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)[0]
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None, None], float("-inf"))
        return scores.softmax(dim=-1)
