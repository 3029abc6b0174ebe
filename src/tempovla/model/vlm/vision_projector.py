"""Projectors: tokens of a vision encoder to tokens of a language model."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.cross_attention import CrossAttention
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.transformer import TransformerBlock


class VisionProjector(nn.Module):
    """Base of projectors: the mask, and a learned token where a picture is missing.

    Values of invalid tokens, NaN included, change neither outputs nor gradients.

    Args:
        vision_dim: width of the tokens that come in.
        llm_dim: width of the tokens that go out.
    """

    def __init__(self, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.vision_dim, self.llm_dim = vision_dim, llm_dim
        self.null = nn.Parameter(0.02 * torch.randn(llm_dim))
        self.register_load_state_dict_pre_hook(_check_sizes)

    def num_output_tokens(self, num_tokens: int) -> int:
        """Return the number of output tokens for `num_tokens` input tokens."""
        raise NotImplementedError

    def output_mask(self, mask: Tensor) -> Tensor:
        """Return the mask (B, M) bool of output tokens, from the `mask` (B, N) of input tokens."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Project.

        Args:
            tokens: (B, N, vision_dim).
            mask: (B, N) bool, True where valid; None: all are. A row with none gives the learned `null`.

        Returns:
            (B, M, llm_dim).

        Raises:
            ValueError: if the tokens have another width.
        """
        if tokens.shape[-1] != self.vision_dim:
            raise ValueError(
                f"vision tokens {tuple(tokens.shape)} do not fit a projector of vision_dim={self.vision_dim}; build it "
                "with the encoder's hidden_dim"
            )
        if mask is None:
            mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        return self.project(tokens.masked_fill(~mask[..., None], 0.0), mask)

    def project(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`forward` with invalid tokens set to zero and a mask that is there."""
        raise NotImplementedError


class MLPProjector(VisionProjector):
    """Two layers on every token by itself (LLaVA-1.5; Liu et al., 2024): (B, N, vision_dim) to (B, N, llm_dim)."""

    def __init__(self, vision_dim: int, llm_dim: int) -> None:
        super().__init__(vision_dim, llm_dim)
        self.proj = mlp((vision_dim, llm_dim, llm_dim))

    def num_output_tokens(self, num_tokens: int) -> int:
        """Return `num_tokens`."""
        return num_tokens

    def output_mask(self, mask: Tensor) -> Tensor:
        """Return the mask of the input tokens."""
        return mask

    def project(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the null stands in every invalid token's place."""
        projected = self.proj(tokens)
        return torch.where(mask[..., None], projected, self.null.to(projected.dtype))


class PoolingProjector(VisionProjector):
    """A fixed number of tokens that attend to the valid ones, or to the null token if there are none."""

    def __init__(self, vision_dim: int, llm_dim: int, num_outputs: int) -> None:
        super().__init__(vision_dim, llm_dim)
        self.num_outputs = num_outputs
        self.proj = nn.Linear(vision_dim, llm_dim)
        self.context_norm = nn.LayerNorm(llm_dim)

    def num_output_tokens(self, num_tokens: int) -> int:
        """Return the fixed number of outputs."""
        return self.num_outputs

    def output_mask(self, mask: Tensor) -> Tensor:
        """Return True for all tokens; a learned token stands for a missing picture."""
        return mask.new_ones(mask.shape[0], self.num_outputs)

    def context(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return projected tokens (B, N + 1, llm_dim) with the null token behind them, and a mask of visible ones."""
        projected = self.proj(tokens)
        null = self.null.to(projected.dtype).expand(tokens.shape[0], 1, -1)
        looked_at = torch.cat([mask, ~mask.any(dim=1, keepdim=True)], dim=1)
        return self.context_norm(torch.cat([projected, null], dim=1)), looked_at


class AttentionPoolingProjector(PoolingProjector):
    """Learned queries attend once to the tokens: (B, N, vision_dim) to (B, num_queries, llm_dim)."""

    def __init__(self, vision_dim: int, llm_dim: int, num_queries: int = 64, num_heads: int = 8) -> None:
        super().__init__(vision_dim, llm_dim, num_queries)
        self.queries = nn.Parameter(0.02 * torch.randn(num_queries, llm_dim))
        self.query_norm = nn.LayerNorm(llm_dim)
        self.cross_attn = CrossAttention(llm_dim, num_heads)

    def project(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (B, num_queries, llm_dim)."""
        queries = self.query_norm(self.queries).expand(tokens.shape[0], -1, -1)
        return self.cross_attn(queries, *self.context(tokens, mask))


class PerceiverLayer(nn.Module):
    """Latents attend to a context, and then to each other."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.cross_attn = CrossAttention(dim, num_heads)
        self.ffn = mlp((dim, 4 * dim, dim), norm_input=True)
        self.block = TransformerBlock(dim, num_heads)

    def forward(self, latents: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """Return (B, M, D)."""
        latents = latents + self.cross_attn(self.norm(latents), context, valid)
        return self.block(latents + self.ffn(latents))


class PerceiverProjector(PoolingProjector):
    """Latents that attend to the tokens several times: (B, N, vision_dim) to (B, num_latents, llm_dim), for any N.

    After Perceiver (Jaegle et al., 2021) and Flamingo's resampler (Alayrac et al., 2022).
    """

    def __init__(
        self, vision_dim: int, llm_dim: int, num_latents: int = 64, num_layers: int = 2, num_heads: int = 8
    ) -> None:
        super().__init__(vision_dim, llm_dim, num_latents)
        self.latents = nn.Parameter(0.02 * torch.randn(num_latents, llm_dim))
        self.layers = nn.ModuleList(PerceiverLayer(llm_dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(llm_dim)

    def project(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (B, num_latents, llm_dim)."""
        context, looked_at = self.context(tokens, mask)
        latents = self.latents.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(latents, context, looked_at)
        return self.norm(latents)


PROJECTOR_REGISTRY: dict[str, type[VisionProjector]] = {
    "mlp": MLPProjector,
    "attention_pooling": AttentionPoolingProjector,
    "perceiver": PerceiverProjector,
}
"""Projectors by name; each is built as `Projector(vision_dim, llm_dim, **options)`."""


def build_projector(name: str, vision_dim: int, llm_dim: int, options: Mapping[str, Any]) -> VisionProjector:
    """Return a projector by name.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest.
    """
    if name not in PROJECTOR_REGISTRY:
        raise ValueError(f"projector {name!r} is unknown{_nearest(name, list(PROJECTOR_REGISTRY))}")
    projector = PROJECTOR_REGISTRY[name]
    known = [key for key in inspect.signature(projector).parameters if key not in ("vision_dim", "llm_dim")]
    for key in options:
        if key not in known:
            raise ValueError(f"projector {name!r} has no option {key!r}{_nearest(key, known)}")
    return projector(vision_dim, llm_dim, **options)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; choose from {known}"


def _check_sizes(module: nn.Module, weights: Mapping[str, Any], prefix: str, *rest: Any) -> None:
    assert isinstance(module, VisionProjector)
    for key, own in module.state_dict().items():
        saved = weights.get(prefix + key)
        if saved is not None and saved.shape != own.shape:
            raise ValueError(
                f"projector's weight {key!r} is {tuple(saved.shape)}, but {tuple(own.shape)} between a vision model of "
                f"{module.vision_dim} and a language model of {module.llm_dim}; give the models and options that it "
                "was trained with, or train another"
            )
