"""Attention over a sliding window of steps, with positions that depend on nothing but their distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.grouped_attention import Rotary, join_heads, rotate, split_heads
from tempovla.model.layers.transformer import fused_is_slow


def newest_entries(before: Tensor, new: Tensor, lengths: Tensor | None) -> Tensor:
    """The last W entries once the valid ones of `new` (B, T, D) have come after `before` (B, W, D), oldest first.

    Args:
        before: (B, W, D).
        new: (B, T, D).
        lengths: (B,) valid steps, which come first; None means all.
    """
    size, length = before.shape[1], new.shape[1]
    extended = torch.cat([before, new.to(before.dtype)], dim=1)
    if lengths is None:
        newest = extended[:, length:]
        return newest.clone() if length > size else newest  # a view would keep the whole sequence in memory
    index = lengths.unsqueeze(1) + torch.arange(size, device=new.device)
    return extended.take_along_dim(index.unsqueeze(2), dim=1)


def visible_keys(
    length: int, size: int, window: int, count: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What `length` new steps see of `size` kept steps and of each other, causally.

    Args:
        length: T.
        size: S; 0 if none are kept.
        window: newest steps that a step sees, itself included.
        count: (B,) how many of the kept ones are filled, the newest; None means that there are none to fill.
        device: where.

    Returns:
        Ages of keys (T, S + T), negative in the future; (B or 1, T, S + T) bool, True where seen.
    """
    keys = torch.arange(-size, length, device=device)
    age = torch.arange(length, device=device).unsqueeze(1) - keys
    seen = ((age >= 0) & (age < window)).unsqueeze(0)
    if count is not None:
        seen = seen & (keys >= -count.unsqueeze(1)).unsqueeze(1)
    return age, seen


def rotary_table(length: int, head_dim: int) -> Rotary:
    """Cosine and sine (length, head_dim) float32 of the positions 0 to length - 1 (Su et al., 2021).

    Angles are float64 inside: only then do equal distances turn alike far from 0.
    """
    rates = torch.exp(torch.arange(0, head_dim, 2, dtype=torch.float64) * (-math.log(10000.0) / head_dim))
    angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * rates
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos().float(), angle.sin().float()


class SlidingAttention(nn.Module):
    """Multi-head attention of new steps to kept ones and to each other."""

    def __init__(self, dim: int, num_heads: int, dropout: float, ages: int | None) -> None:
        """`ages`: how many distances have a learned score for every head; None means that none has."""
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.age_score = None if ages is None else nn.Parameter(torch.zeros(num_heads, ages))

    def forward(
        self, x: Tensor, kept: tuple[Tensor, Tensor] | None, age: Tensor, seen: Tensor, rotary: Rotary | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Args:
            x: (B, T, D).
            kept: keys and values (B, S, D) of the steps before; None means S = 0.
            age: (T, S + T) places in the table of learned scores.
            seen: (B or 1, T, S + T) bool; every step sees one.
            rotary: (1, S + T, D / heads) of the keys' positions, the new steps' last; None turns nothing.

        Returns:
            Mixed (B, T, D), and the new steps' keys and values (B, T, D), without positions.
        """
        query, new_key, new_value = self.qkv(x).chunk(3, dim=-1)
        key, value = new_key, new_value
        if kept is not None:
            key, value = torch.cat([kept[0].to(key.dtype), key], 1), torch.cat([kept[1].to(key.dtype), value], 1)
        head_dim = x.shape[2] // self.num_heads
        queries, keys, values = (split_heads(part, head_dim) for part in (query, key, value))
        if rotary is not None:
            queries = rotate(queries, (rotary[0][:, -x.shape[1] :], rotary[1][:, -x.shape[1] :]))
            keys = rotate(keys, rotary)
        bias = self._bias(age, seen, queries)
        dropout = self.dropout if self.training else 0.0
        if fused_is_slow(queries):
            weights = ((queries * head_dim**-0.5) @ keys.mT + bias).softmax(dim=-1).to(values.dtype)
            mixed = F.dropout(weights, dropout) @ values
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, dropout_p=dropout)
        return self.out(join_heads(mixed)), new_key, new_value

    def _bias(self, age: Tensor, seen: Tensor, queries: Tensor) -> Tensor:
        """(B or 1, heads or 1, T, S + T) added to the scores."""
        hidden = torch.finfo(queries.dtype).min
        if self.age_score is None:
            return torch.zeros_like(seen, dtype=queries.dtype).masked_fill(~seen, hidden).unsqueeze(1)
        scores = self.age_score[:, age.clamp(0, self.age_score.shape[1] - 1)].to(queries.dtype)
        return scores.unsqueeze(0).masked_fill(~seen.unsqueeze(1), hidden)
