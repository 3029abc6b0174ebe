"""A pre-norm transformer over a sequence of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.recompute import Recompute


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim={dim} is not divisible by num_heads={num_heads}; choose heads that divide it")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *, causal: bool = False) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value, causal=causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, dim))


def attend(query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention over (B, heads, L, D).

    On a CPU the fused kernel's backward in bfloat16 is several times slower than the plain formula.

    Args:
        query: (B, heads, L, D).
        key: (B, heads, S, D).
        value: (B, heads, S, D).
        causal: a query sees only the keys up to its own place; not with `mask`.
        mask: (B, 1, L or 1, S) bool, True where a query sees a key; each query must see one.
    """
    if not fused_is_slow(query):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).to(value.dtype) @ value


def fused_is_slow(query: Tensor) -> bool:
    """Return whether the fused kernel would run in bfloat16 on a CPU."""
    in_autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return query.device.type == "cpu" and (query.dtype == torch.bfloat16 or in_autocast)


class TransformerBlock(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm and around a residual."""

    def __init__(self, dim: int, num_heads: int, ffn_multiple: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_multiple * dim), nn.GELU(), nn.Linear(ffn_multiple * dim, dim))

    def forward(self, x: Tensor, *, causal: bool = False) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        x = x + self.attention(self.attention_norm(x), causal=causal)
        return x + self.ffn(self.ffn_norm(x))


class Transformer(Recompute):
    """A stack of blocks with learned positions and a final norm.

    Args:
        dim: width D.
        depth: number of blocks.
        num_heads: attention heads.
        max_length: longest sequence, for the learned positions.
        causal: every token sees only those before it and itself.
    """

    def __init__(self, dim: int, depth: int, num_heads: int, max_length: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.position = nn.Parameter(0.02 * torch.randn(max_length, dim))
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D).

        Raises:
            ValueError: if L exceeds the learned positions.
        """
        if x.shape[1] > len(self.position):
            raise ValueError(
                f"sequence of {x.shape[1]} tokens is longer than max_length={len(self.position)}; raise it"
            )
        x = x + self.position[: x.shape[1]]
        for block in self.blocks:
            x = self.run_layer(block, x, causal=self.causal)
        return self.norm(x)
