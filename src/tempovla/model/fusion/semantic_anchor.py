"""Task tokens: what matters in a picture for an instruction, as a few tokens whose queries come from the words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.cross_attention import CrossAttention


class SemanticAnchor(nn.Module):
    """K learned queries ask the words what to look for, and then look at the picture.

    With E the learned queries: q = LN(E + attention(E, words)), C = LN(attention(q, vision)), G = attention(q,
    geometry), and the task tokens are S = LN(q + W C + tanh(gamma) W_g G). The words so steer what is looked at, and
    not only what comes out. The gate gamma begins at 0, where geometry changes nothing.

    The queries begin with a standard deviation of 1, like what the words add to them. With 0.02, which is usual for
    embeddings, the words outweigh them so far that all K tokens stay nearly the same (cosine 0.96 to 0.98 after a
    training). What is seen is normalised because a mean over many tokens is small beside the queries.

    Args:
        dim: width H of all tokens.
        num_tokens: number K of task tokens.
        num_heads: attention heads.
        reads_geometry: whether there are geometry tokens, too.
    """

    def __init__(self, dim: int, num_tokens: int = 32, num_heads: int = 8, *, reads_geometry: bool = False) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f"model.task_token_heads={num_heads} does not divide the width {dim} of the language model; choose one "
                "that does"
            )
        self.queries = nn.Parameter(torch.randn(num_tokens, dim))
        self.language_norm, self.language = nn.LayerNorm(dim), CrossAttention(dim, num_heads)
        self.query_norm = nn.LayerNorm(dim)
        self.vision_norm, self.vision = nn.LayerNorm(dim), CrossAttention(dim, num_heads)
        self.geometry_norm = nn.LayerNorm(dim) if reads_geometry else None
        self.geometry = CrossAttention(dim, num_heads) if reads_geometry else None
        self.geometry_mix = nn.Linear(dim, dim, bias=False) if reads_geometry else None
        self.gamma = nn.Parameter(torch.zeros(1)) if reads_geometry else None
        self.seen_norm, self.mix = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        words: Tensor,
        words_valid: Tensor,
        vision: Tensor,
        vision_valid: Tensor,
        geometry: Tensor | None = None,
        geometry_valid: Tensor | None = None,
    ) -> Tensor:
        """Return task tokens (B, K, H).

        Args:
            words: (B, L, H) tokens of the instruction alone: no pictures, padding or separators.
            words_valid: (B, L) bool.
            vision: (B, N, H) tokens of the pictures.
            vision_valid: (B, N) bool.
            geometry: (B, M, H) tokens of the geometry, if they are read.
            geometry_valid: (B, M) bool.
        """
        query = self.queries_of(words, words_valid)
        seen = _look(self.vision, query, *self._clean(self.vision_norm, vision, vision_valid))
        found = self.mix(self.seen_norm(seen))
        if self.geometry is not None:
            assert self.geometry_norm is not None
            assert self.geometry_mix is not None
            assert self.gamma is not None
            assert geometry is not None, "an anchor that reads geometry is given some"
            assert geometry_valid is not None, "geometry comes with its validity"
            around = _look(self.geometry, query, *self._clean(self.geometry_norm, geometry, geometry_valid))
            found = found + self.gamma.tanh() * self.geometry_mix(around)
        return self.norm(query + found)

    def queries_of(self, words: Tensor, words_valid: Tensor) -> Tensor:
        """Return the queries (B, K, H) that an instruction makes; arguments as of `forward`."""
        learned = self.queries.expand(words.shape[0], -1, -1)
        asked = _look(self.language, learned, *self._clean(self.language_norm, words, words_valid))
        return self.query_norm(learned + asked)

    def attention(self, words: Tensor, words_valid: Tensor, vision: Tensor, vision_valid: Tensor) -> Tensor:
        """Return the weights (B, heads, K, N) with which the task tokens look at the picture; see `forward`."""
        clean, there = self._clean(self.vision_norm, vision, vision_valid)
        return self.vision.weights(self.queries_of(words, words_valid), clean, there)

    def _clean(self, norm: nn.LayerNorm, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised tokens in this module's dtype with 0 where invalid, which may be NaN."""
        tokens = torch.where(valid[..., None], tokens, 0.0).to(norm.weight.dtype)
        return norm(tokens), valid


def _look(attention: CrossAttention, query: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
    """What is seen; 0 in rows in which there is nothing to see."""
    some = valid.any(dim=1, keepdim=True)
    seen = attention(query, tokens, valid | ~some)
    return torch.where(some[..., None], seen, 0.0)
