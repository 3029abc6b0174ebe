"""Transformer core: a sliding window of the newest valid steps, whose keys and values a stream carries along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.grouped_attention import Rotary, join_heads, rotate, split_heads
from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.row_state import RowState
from tempovla.model.layers.transformer import fused_is_slow
from tempovla.model.temporal.core.base import TemporalCore, TemporalState, newest_entries

if TYPE_CHECKING:
    from tempovla.model.temporal.core.config import TemporalEncoderConfig


def visible_keys(
    length: int, size: int, window: int, count: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what `length` new steps see, causally, of `size` kept steps and of each other.

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


@dataclass(frozen=True)
class WindowState(RowState):
    """The newest W - 1 valid steps of every row, oldest first; zeros where there are none. W is the window.

    Attributes:
        keys: (B, W - 1, hidden_dim) of each layer, without positions.
        values: (B, W - 1, hidden_dim) of each layer.
        outputs: (B, W - 1, hidden_dim) of the last layer, for pooling.
        count: (B,) int64, how many are filled.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    outputs: Tensor
    count: Tensor


class TemporalBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm and around a residual."""

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        ages = config.visible_steps if config.use_causal_mask else 2 * config.max_seq_len - 1
        learned = config.use_positional_encoding and config.use_learned_pos_embed
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SlidingAttention(dim, config.num_heads, config.dropout, ages if learned else None)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, kept: tuple[Tensor, Tensor] | None, age: Tensor, seen: Tensor, rotary: Rotary | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix the steps; see `SlidingAttention.forward`."""
        mixed, key, value = self.attention(self.attention_norm(x), kept, age, seen, rotary)
        x = x + self.drop(mixed)
        return x + self.drop(self.ffn(self.ffn_norm(x))), key, value


class TemporalTransformer(TemporalCore, Recompute):
    """Pre-norm transformer. Each layer sees the newest `window` valid steps, in whole sequences as in streams.

    `aggregated` pools the last layer over the same window. Positions are distances in valid steps, so that padding
    moves nothing, and a stream may go on for ever. The layers' reach adds up to num_layers windows.
    """

    encoder_type = "transformer"
    rotary_table: Tensor

    def __init__(self, config: TemporalEncoderConfig) -> None:
        super().__init__(config)
        blocks = nn.ModuleList(TemporalBlock(config) for _ in range(config.num_layers))
        self.blocks = cast(Sequence[TemporalBlock], blocks)
        self.output_norm = nn.LayerNorm(config.hidden_dim)
        self.pool_score = nn.Linear(config.hidden_dim, 1, bias=False)
        nn.init.zeros_(self.pool_score.weight)  # a plain mean at first
        if config.use_positional_encoding and not config.use_learned_pos_embed:
            longest = config.max_seq_len + (config.visible_steps - 1 if config.use_causal_mask else 0)
            table = torch.stack(rotary_table(longest, config.hidden_dim // config.num_heads))
            self.register_buffer("rotary_table", table, persistent=False)

    def initial_core(self, batch: int) -> WindowState:
        """Return empty windows."""
        zeros = self.no_hidden.new_zeros(batch, self.config.visible_steps - 1, self.config.hidden_dim)
        layers = (zeros,) * self.config.num_layers
        return WindowState(layers, layers, zeros, torch.zeros(batch, dtype=torch.int64, device=zeros.device))

    def mix(self, x: Tensor, state: TemporalState | None, lengths: Tensor | None) -> tuple[Tensor, Tensor, Any]:
        """Run the core; see `TemporalCore.mix`. The returned state is empty if the core is not causal."""
        config, length = self.config, x.shape[1]
        before: WindowState | None = None if state is None else state.core
        if config.use_causal_mask:
            size, count = (0, None) if before is None else (before.outputs.shape[1], before.count)
            age, seen = visible_keys(length, size, config.visible_steps, count, x.device)
        else:
            age, seen = self._all_keys(length, lengths, x.device)
        rotary = self._rotary(age.shape[1])
        new_keys, new_values = [], []
        for index, block in enumerate(self.blocks):
            kept = None if before is None else (before.keys[index], before.values[index])
            x, key, value = self.run_layer(block, x, kept, age, seen, rotary)
            new_keys.append(key)
            new_values.append(value)
        hidden = self.output_norm(x)
        pooled = self._pool(hidden, None if before is None else before.outputs, seen)
        if not config.use_causal_mask:
            return hidden, pooled, ()
        return hidden, pooled, self._after(before, new_keys, new_values, hidden, lengths)

    def _rotary(self, length: int) -> Rotary | None:
        if not self.config.use_positional_encoding or self.config.use_learned_pos_embed:
            return None
        cos, sin = self.rotary_table[:, None, :length]
        return cos, sin

    def _all_keys(self, length: int, lengths: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
        place = torch.arange(length, device=device)
        age = place.unsqueeze(1) - place
        seen = torch.ones_like(age, dtype=torch.bool).unsqueeze(0)
        if lengths is not None:  # padding sees itself, so that it stays a number
            seen = (place < lengths.unsqueeze(1)).unsqueeze(1) | (age == 0)
        return age + self.config.max_seq_len - 1, seen

    def _pool(self, hidden: Tensor, kept: Tensor | None, seen: Tensor) -> Tensor:
        values = hidden if kept is None else torch.cat([kept.to(hidden.dtype), hidden], dim=1)
        scores = self.pool_score(values).mT.to(hidden.dtype)
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=-1).to(values.dtype) @ values

    def _after(
        self,
        before: WindowState | None,
        keys: list[Tensor],
        values: list[Tensor],
        hidden: Tensor,
        lengths: Tensor | None,
    ) -> WindowState:
        before = self.initial_core(hidden.shape[0]) if before is None else before
        added = torch.full_like(before.count, hidden.shape[1]) if lengths is None else lengths
        return WindowState(
            tuple(newest_entries(old, new, lengths) for old, new in zip(before.keys, keys, strict=True)),
            tuple(newest_entries(old, new, lengths) for old, new in zip(before.values, values, strict=True)),
            newest_entries(before.outputs, hidden, lengths),
            (before.count + added).clamp(max=before.outputs.shape[1]),
        )
