"""Fusion that a model learns to let in: at the start it changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.cross_attention import CrossAttention
from tempovla.model.layers.dtype import in_dtype_of


class GatedFusion(nn.Module):
    """Tokens that attend to tokens of another sense, added through a gate tanh(gamma) that starts closed.

    With gamma = 0 the output equals the input, bit for bit, and gamma already has a gradient (as in Flamingo, Alayrac
    et al., 2022, section 2.2).

    Args:
        dim: width D of the tokens that are extended.
        context_dim: width D_c of the others.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, context_dim: int, num_heads: int = 8) -> None:
        super().__init__()
        self.context = nn.Sequential(nn.LayerNorm(context_dim), nn.Linear(context_dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, num_heads)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """Return tokens (B, L, D) with what they find in the context; a row whose context is empty stays as it is.

        Args:
            tokens: (B, L, D).
            context: (B, M, D_c).
            valid: (B, M) bool, which tokens of the context are seen. What the others hold changes nothing.
        """
        some = valid.any(dim=1)
        context = torch.where(valid[..., None], context, 0.0)
        seen = self.context(in_dtype_of(self.context, context))
        # A softmax over nothing is no number, so a row without context looks at all of it and ignores what it finds.
        found = self.attention(self.norm(tokens), seen, valid | ~some[:, None])
        found = torch.where(some[:, None, None], found, 0.0)
        return tokens + (self.gamma.tanh() * found).to(tokens.dtype)
