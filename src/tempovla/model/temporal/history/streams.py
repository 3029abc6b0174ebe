"""Encoders of one stream of a history, its states or its actions.

Their attention is causal. It reads how old each step is, and skips steps that do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.mlp import mlp
from tempovla.model.temporal.history.config import HistoryEncoderConfig


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
    is the same wherever the steps lie. A query without any step attends to the null, which is always visible.

    Args:
        dim: width D.
        num_heads: attention heads.
        max_age: number of ages that have an embedding; None leaves embeddings out.
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


class EncodedHistory(NamedTuple):
    """The encoding of one stream of a history.

    Attributes:
        encoding: (B, output_dim) of the newest valid step; a learned null where there is none.
        sequence: (B, T, output_dim) of each step, computed from it and the earlier ones; 0 where invalid.
    """

    encoding: Tensor
    sequence: Tensor


class StreamEncoder(nn.Module):
    """A causal transformer over the steps of one stream.

    Args:
        entry: maps a step's values to hidden_dim features.
        config: sizes.
    """

    def __init__(self, entry: nn.Module, config: HistoryEncoderConfig) -> None:
        super().__init__()
        self.entry = entry
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            HistoryBlock(config.hidden_dim, config.num_heads, config.max_age, config.dropout)
            for _ in range(config.num_layers)
        )
        self.out = nn.Sequential(nn.LayerNorm(config.hidden_dim), nn.Linear(config.hidden_dim, config.output_dim))
        self.null = nn.Parameter(0.02 * torch.randn(config.output_dim))
        self.history_length = config.history_length

    def encode(self, values: Tensor, content: Tensor, steps: Tensor) -> EncodedHistory:
        """Encode values (B, T, F), known where `content` (B, T), of steps that there were where `steps` (B, T)."""
        if values.shape[1] > self.history_length:
            raise ValueError(
                f"a history of {values.shape[1]} steps is longer than history_length={self.history_length}; "
                "raise it, give the newest steps, or encode every window with HistoryEncoder.sequence"
            )
        mask = StepMask.causal(steps, content)
        x = self.dropout(self.entry(clean(values, content).to(self.null.dtype)))
        for block in self.blocks:
            x = block(x, mask)
        sequence = clean(self.out(x), content)
        return EncodedHistory(newest(sequence, content, self.null), sequence)


class StateHistoryEncoder(StreamEncoder):
    """Encodes past states.

    Args:
        config: sizes.
    """

    def __init__(self, config: HistoryEncoderConfig) -> None:
        super().__init__(nn.Linear(config.obs_dim, config.hidden_dim), config)
        self.obs_dim = config.obs_dim

    def forward(self, states: Tensor, valid: Tensor | None = None) -> EncodedHistory:
        """Encode states (B, T, obs_dim), which exist where `valid` (B, T) is True; None means everywhere.

        Raises:
            ValueError: if the shapes do not fit, or there are more than history_length steps.
        """
        steps = checked("states", states, self.obs_dim, valid)
        return self.encode(states, steps, steps)


class ActionHistoryEncoder(StreamEncoder):
    """Encodes past actions.

    Args:
        config: sizes.
    """

    def __init__(self, config: HistoryEncoderConfig) -> None:
        sizes = [config.action_dim, config.hidden_dim]
        super().__init__(mlp([*sizes, config.hidden_dim] if config.use_action_embedding else sizes), config)
        self.action_dim = config.action_dim

    def forward(self, actions: Tensor, valid: Tensor | None = None, steps: Tensor | None = None) -> EncodedHistory:
        """Encode actions (B, T, action_dim), which are known where `valid` (B, T) is True; None means everywhere.

        `steps` (B, T) tells steps whose action is unknown, which take time, from padding; None means `valid`.

        Raises:
            ValueError: if the shapes do not fit, or there are more than history_length steps.
        """
        content = checked("actions", actions, self.action_dim, valid)
        steps = content if steps is None else checked("actions", actions, self.action_dim, steps)
        return self.encode(actions, content & steps, steps)


def clean(values: Tensor, valid: Tensor) -> Tensor:
    """Return values (B, T, F) with 0 where `valid` (B, T) is False, whatever was there."""
    return torch.where(valid[..., None], values, 0.0)


def newest(sequence: Tensor, valid: Tensor, null: Tensor) -> Tensor:
    """Return the last valid step (B, D) of a sequence (B, T, D), and `null` (D,) for rows without one."""
    nulls = null.expand(sequence.shape[0], 1, -1).to(sequence.dtype)
    if not valid.shape[1]:
        return nulls[:, 0]
    place = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).amax(dim=1)
    place = place[:, None, None].expand(-1, 1, sequence.shape[2])
    return torch.cat([nulls, sequence], dim=1).gather(1, place)[:, 0]


def checked(name: str, values: Tensor, size: int, valid: Tensor | None) -> Tensor:
    """Return the validity (B, T) of values (B, T, size); None means that all are valid.

    Raises:
        ValueError: if either has another shape.
    """
    if values.dim() != 3 or values.shape[2] != size:
        raise ValueError(f"{name} {tuple(values.shape)} must be (rows, steps, {size})")
    if valid is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    if valid.shape != values.shape[:2]:
        raise ValueError(f"validity {tuple(valid.shape)} of {name} must be {tuple(values.shape[:2])}, one a step")
    return valid.to(values.device).bool()
