"""Actions one after the other: each step is drawn given those before it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tempovla.model.action_head.action_tokens import BinTokens, MixtureTokens
from tempovla.model.action_head.base import DrawingActionHead, Generator, check_positive, check_sizes
from tempovla.model.action_head.decoder import Decoder, KeyValue, Memory
from tempovla.model.action_head.mixture import MAX_LOG_STD
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.timeline import LossTerm
from tempovla.timeline.noise import row_normal, row_seeds, row_uniform

DEFAULT_BIN_RANGE = 1.0
"""How far from 0 the bins reach, in the units of normalised actions."""


class TransformerActionHead(DrawingActionHead):
    """A causal transformer over a chunk that attends to every feature token.

    It learns from the true earlier actions (teacher forcing) and, when it acts, reads its own, keeping the keys and
    values of the steps before. A step is drawn from a mixture of Gaussians; with `num_bins`, each dimension from bins.

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        max_seq_len: tokens of a chunk at the most: steps, or with bins steps times dimensions.
        num_layers: blocks.
        action_horizon: steps H of a chunk.
        hidden_dim: width.
        num_heads: attention heads.
        num_modes: Gaussians of the mixture.
        std_scale: factor on the mixture's standard deviation in `sample`; 0 draws a mode and answers its mean.
        num_bins: bins of a dimension instead of a mixture; None for the mixture.
        bin_range: the bins divide [-bin_range, bin_range].
        min_log_std: the mixture's log_std is clamped to [min_log_std, 2]: small ones let dimensions that hardly vary
            rule the gradient.
        input_noise: standard deviation of what is added to the earlier actions that training reads. Otherwise a step
            is best told from the true one before it, and the features count for little once the head reads its own.
    """

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        max_seq_len: int = 100,
        num_layers: int = 4,
        action_horizon: int = 16,
        hidden_dim: int = 256,
        num_heads: int = 4,
        num_modes: int = 5,
        std_scale: float = 1.0,
        num_bins: int | None = None,
        bin_range: float = DEFAULT_BIN_RANGE,
        min_log_std: float = -5.0,
        input_noise: float = 0.0,
    ) -> None:
        super().__init__(input_dim, action_dim, action_horizon)
        name = "TransformerActionHead"
        if min_log_std >= MAX_LOG_STD:
            raise ValueError(f"{name}: min_log_std={min_log_std} must be below {MAX_LOG_STD}")
        if input_noise < 0:
            raise ValueError(f"{name}: input_noise={input_noise} must not be negative")
        self.input_noise = input_noise
        check_sizes(name, num_layers=num_layers, hidden_dim=hidden_dim, num_heads=num_heads, num_modes=num_modes)
        self.num_tokens = action_horizon * (1 if num_bins is None else action_dim)
        if self.num_tokens > max_seq_len:
            raise ValueError(
                f"{name}: a chunk of {action_horizon} steps is {self.num_tokens} tokens; "
                f"set max_seq_len={max_seq_len} to at least that"
            )
        self.tokens: MixtureTokens | BinTokens
        if num_bins is None:
            self.tokens = MixtureTokens(hidden_dim, action_dim, num_modes, std_scale, min_log_std)
        else:
            check_sizes(name, num_bins=num_bins)
            check_positive(name, bin_range=bin_range)
            self.tokens = BinTokens(hidden_dim, action_dim, num_bins, bin_range)
        self.start = nn.Parameter(0.02 * torch.randn(hidden_dim))
        self.decoder = Decoder(input_dim, hidden_dim, num_layers, num_heads, max_seq_len, causal=True)

    def teacher_forced(self, features: Tensor, actions: Tensor, feature_valid: Tensor | None = None) -> Tensor:
        """Return the network's outputs (B, tokens, hidden_dim) for each token of actions (B, H, A), given those before
        it.
        """
        memory = self.decoder.remember(*self.as_tokens(features, feature_valid))
        return self._outputs(self.tokens.encode(actions), memory)

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """As the base; `input_noise` alone is random. Invalid actions are read as 0 by the steps after them."""
        clean, full = self.clean_actions(actions, valid)
        hidden = self.teacher_forced(features, self._disturbed(clean, full, generator), feature_valid)
        return {"action_loss": self.tokens.loss_term(hidden, self.tokens.encode(clean), full)}

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """`normal` (B, tokens, A) and `uniform` (B, tokens)."""
        normal = row_normal(seeds, (self.num_tokens, self.action_dim))
        return {"normal": normal, "uniform": row_uniform(seeds, (self.num_tokens,), stream=1)}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """Do as the base does."""
        uniform, normal = numbers["uniform"], numbers["normal"]
        memory = self.decoder.remember(*self.as_tokens(features, feature_valid))
        token = self.start.expand(features.shape[0], 1, -1)
        past: tuple[KeyValue, ...] = ()
        drawn: list[Tensor] = []
        for index in range(self.num_tokens):
            hidden, past = self.decoder.step(token, memory, past)
            now = slice(index, index + 1)
            draw = self.tokens.draw(hidden, uniform[:, now], normal[:, now])
            drawn.append(draw if own is None else self.tokens.without_padding(draw, own, index))
            token = self.tokens.embed(in_dtype_of(self, drawn[-1]))
        return self.tokens.decode(torch.cat(drawn, dim=1))

    def _disturbed(self, clean: Tensor, valid: Tensor, generator: Generator) -> Tensor:
        """Actions (B, H, A) as training reads them, 0 where invalid."""
        if not self.input_noise:
            return clean
        seeds = row_seeds(generator, len(clean), clean.device)
        noise = self.input_noise * row_normal(seeds, clean.shape[1:], stream=2)
        return torch.where(valid, clean + noise, 0.0)

    def _outputs(self, tokens: Tensor, memory: Memory) -> Tensor:
        embedded = self.tokens.embed(in_dtype_of(self, tokens[:, :-1]))
        start = self.start.to(embedded.dtype).expand(tokens.shape[0], 1, -1)
        return self.decoder(torch.cat([start, embedded], dim=1), memory)
