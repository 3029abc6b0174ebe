"""A transformer over the steps of a chunk that attends to the features. Heads with attention are built of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.transformer import attend

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one block, both (B, heads, L, D / heads)."""


@dataclass(frozen=True)
class Memory:
    """The features as every block's keys and values, and which of them are valid (B, L); None: all."""

    blocks: tuple[KeyValue, ...]
    valid: Tensor | None


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be kept."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"hidden_dim={dim} is not divisible by num_heads={num_heads}; choose heads that divide it")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def keys_values(self, source: Tensor) -> KeyValue:
        """Return keys and values of source (B, L, D)."""
        key, value = self.key_value(source).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(self, x: Tensor, source: KeyValue, *, causal: bool = False, valid: Tensor | None = None) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        mask = None if valid is None else valid[:, None, None]
        mixed = attend(self._split(self.query(x)), *source, causal=causal, mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Attention among the steps, attention to the features, and a feed-forward layer, each pre-norm and residual."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.step_norm = nn.LayerNorm(dim)
        self.step_attention = Attention(dim, num_heads)
        self.feature_norm = nn.LayerNorm(dim)
        self.feature_attention = Attention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = mlp((dim, 4 * dim, dim))

    def forward(
        self, x: Tensor, features: KeyValue, valid: Tensor | None, *, causal: bool, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Steps (B, L, D) to (B, L, D), with the keys and values of these steps and of those in `past`."""
        normed = self.step_norm(x)
        source = self.step_attention.keys_values(normed)
        if past is not None:
            key, value = (torch.cat([old, new], dim=2) for old, new in zip(past, source, strict=True))
            source = (key, value)
        x = x + self.step_attention(normed, source, causal=causal)
        x = x + self.feature_attention(self.feature_norm(x), features, valid=valid)
        return x + self.ffn(self.ffn_norm(x)), source


class Decoder(nn.Module):
    """A stack of blocks with learned positions.

    The first thing to attend to is a learned token, so that a row with no valid feature has something, too.

    Args:
        input_dim: size of a feature.
        dim: width D.
        depth: number of blocks.
        num_heads: attention heads.
        max_length: steps at the most.
        causal: every step sees only those before it and itself.
    """

    def __init__(
        self, input_dim: int, dim: int, depth: int, num_heads: int, max_length: int, *, causal: bool = False
    ) -> None:
        super().__init__()
        self.causal = causal
        self.features = nn.Sequential(nn.LayerNorm(input_dim), nn.Linear(input_dim, dim))
        self.nothing = nn.Parameter(0.02 * torch.randn(dim))
        self.position = nn.Parameter(0.02 * torch.randn(max_length, dim))
        blocks = nn.ModuleList(DecoderBlock(dim, num_heads) for _ in range(depth))
        self.blocks = cast(Sequence[DecoderBlock], blocks)
        self.norm = nn.LayerNorm(dim)

    def remember(self, tokens: Tensor, valid: Tensor | None = None) -> Memory:
        """Return the keys and values of features (B, L, input_dim), computed once a chunk."""
        if valid is not None:
            tokens = torch.where(valid[..., None], tokens, 0.0)
            valid = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
        embedded = self.features(tokens)
        nothing = self.nothing.to(embedded.dtype).expand(tokens.shape[0], 1, -1)
        source = torch.cat([nothing, embedded], dim=1)
        return Memory(tuple(block.feature_attention.keys_values(source) for block in self.blocks), valid)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """Steps (B, L, D) to (B, L, D)."""
        x = x + self.position[: x.shape[1]]
        for block, features in zip(self.blocks, memory.blocks, strict=True):
            x, _ = block(x, features, memory.valid, causal=self.causal)
        return self.norm(x)

    def step(self, x: Tensor, memory: Memory, past: tuple[KeyValue, ...]) -> tuple[Tensor, tuple[KeyValue, ...]]:
        """Return one more step (B, 1, D) of a causal decoder after those in `past` (at first an empty tuple)."""
        assert self.causal, "only a causal decoder can run step by step"
        done = past[0][0].shape[2] if past else 0
        x, kept = x + self.position[done], []
        for index, (block, features) in enumerate(zip(self.blocks, memory.blocks, strict=True)):
            x, source = block(x, features, memory.valid, causal=False, past=past[index] if past else None)
            kept.append(source)
        return self.norm(x), tuple(kept)


class TransformerDenoiser(nn.Module):
    """Maps noisy actions and a time to the head's prediction, with attention to every feature.

    Args:
        input_dim: size of a feature.
        action_dim: dimensions A of an action.
        horizon: steps H of a chunk.
        hidden_dim: width.
        num_layers: blocks.
        num_heads: attention heads.
    """

    def __init__(
        self, input_dim: int, action_dim: int, horizon: int, hidden_dim: int, num_layers: int, num_heads: int
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.time = mlp((hidden_dim, hidden_dim, hidden_dim))
        self.action_in = nn.Linear(action_dim, hidden_dim)
        self.decoder = Decoder(input_dim, hidden_dim, num_layers, num_heads, horizon)
        self.action_out = zero_linear(hidden_dim, action_dim)

    def condition(self, tokens: Tensor, valid: Tensor | None) -> Memory:
        """Return the condition of `forward` from features (B, L, input_dim); it is the same at every time."""
        return self.decoder.remember(tokens, valid)

    def forward(self, x: Tensor, time: Tensor, condition: Memory) -> Tensor:
        """Return (B, H, A) from actions (B, H, A) and time (B,) in [0, 1]."""
        embedded = in_dtype_of(self, sinusoidal_embedding(time, self.hidden_dim))
        steps = self.action_in(in_dtype_of(self, x)) + self.time(embedded)[:, None]
        return self.action_out(self.decoder(steps, condition))


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer that starts with the answer 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
