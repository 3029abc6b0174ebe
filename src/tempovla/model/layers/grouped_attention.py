"""Attention with rotary positions in which several queries share a key (Ainslie et al., 2023; Su et al., 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.layers.transformer import attend, fused_is_slow

Rotary = tuple[Tensor, Tensor]
"""Cosine and sine (B, L, D / heads) of every token's position."""


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """Map (B, L, heads * head_dim) to (B, heads, L, head_dim)."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Map (B, heads, L, head_dim) to (B, L, heads * head_dim)."""
    return x.transpose(1, 2).flatten(2)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Return queries or keys (B, heads, L, head_dim) with their positions, the first half turned against the second."""
    cos, sin = (part[:, None] for part in rotary)
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def grouped_attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention of queries (B, heads, L, D) to keys and values (B, groups, S, D), groups dividing heads.

    Args:
        query: the queries.
        key: the keys.
        value: the values.
        mask: (B, 1, L or 1, S) bool, True where a query sees a key; each query must see one.
    """
    if not fused_is_slow(query):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, enable_gqa=bool(query.shape[1] != key.shape[1])
        )
    times = query.shape[1] // key.shape[1]
    if times > 1:
        key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    return attend(query, key, value, mask=mask)
