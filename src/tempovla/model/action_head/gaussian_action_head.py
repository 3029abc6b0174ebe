"""A Gaussian, or a mixture of them, over whole chunks of actions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head.base import DrawingActionHead, Generator, check_sizes, one_step_or_chunk
from tempovla.model.action_head.mixture import MAX_LOG_STD, GaussianMixture, likelihood_term
from tempovla.model.action_head.mlp_action_head import relu_mlp
from tempovla.timeline import LossTerm
from tempovla.timeline.noise import row_normal, row_uniform

LARGEST_SQUASHED = 1.0 - 1e-6
"""Squashed actions beyond it, which no finite number is squashed to, count as this."""


class GaussianMLPActionHead(DrawingActionHead):
    """A diagonal Gaussian over a chunk. With several modes it is a mixture, and one mode is drawn for the whole chunk.

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        hidden_dim: width of the hidden layers.
        chunk_size: steps H of a chunk.
        num_modes: Gaussians of the mixture.
        squash: actions are tanh of the Gaussian's samples and lie in (-1, 1) (Haarnoja et al., 2018, appendix C).
        num_layers: hidden layers.
        min_log_std: log_std is clamped to [min_log_std, 2]. Where an action's dimension hardly varies, -5 keeps the
            likelihood's gradients in bounds.
        std_scale: factor on the standard deviation in `sample`; 0 draws a mode and answers its mean.
    """

    horizon_keyword = "chunk_size"

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        hidden_dim: int = 256,
        chunk_size: int = 1,
        num_modes: int = 1,
        squash: bool = False,
        num_layers: int = 2,
        min_log_std: float = -20.0,
        std_scale: float = 1.0,
    ) -> None:
        super().__init__(input_dim, action_dim, chunk_size)
        name = "GaussianMLPActionHead"
        check_sizes(name, hidden_dim=hidden_dim, num_modes=num_modes, num_layers=num_layers)
        if min_log_std >= MAX_LOG_STD:
            raise ValueError(f"{name}: min_log_std={min_log_std} must be below {MAX_LOG_STD}")
        self.num_modes = num_modes
        self.squash = squash
        self.min_log_std = min_log_std
        self.std_scale = std_scale
        entries = num_modes * chunk_size * action_dim
        self.trunk = relu_mlp(input_dim, hidden_dim, num_layers)
        self.mean_head = nn.Linear(hidden_dim, entries)
        self.log_std_head = nn.Linear(hidden_dim, entries)
        self.mode_head = nn.Linear(hidden_dim, num_modes) if num_modes > 1 else None
        self.answers_with_chunk = False

    @classmethod
    def build(cls, input_dim: int, action_dim: int, action_horizon: int, options: Mapping[str, Any]) -> Self:
        """As the base; a call of the head that it builds, which is that of a policy, returns a chunk."""
        head = super().build(input_dim, action_dim, action_horizon, options)
        head.answers_with_chunk = True
        return head

    def forward(self, features: Tensor, feature_valid: Tensor | None = None) -> Any:
        """Return the parameters of the Gaussian, or a sample.

        A head that was made by its constructor returns mean and log_std (before squashing) of the likeliest mode, each
        (B, H, A), or (B, A) with chunk_size=1. The head of a policy returns a chunk of that shape, as all other heads
        do, drawn as `sample` draws it.
        """
        if self.answers_with_chunk:
            return super().forward(features, feature_valid)
        mixture = self.distribution(features, feature_valid)
        mean, log_std = (self._chunk(x) for x in mixture.mode(mixture.logits.argmax(dim=-1)))
        return one_step_or_chunk(mean), one_step_or_chunk(log_std)

    def sample(self, features: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None) -> Tensor:
        """As the base, but (B, A) with chunk_size=1, the shape of what `forward` returns."""
        return one_step_or_chunk(super().sample(features, generator, feature_valid=feature_valid))

    def distribution(self, features: Tensor, feature_valid: Tensor | None = None) -> GaussianMixture:
        """Return the distribution (B,) over flat chunks (H A) before squashing, in float32."""
        hidden = self.trunk(self.pooled(features, feature_valid))
        logits = hidden.new_zeros(hidden.shape[0], 1) if self.mode_head is None else self.mode_head(hidden)
        mean, log_std = (head(hidden).float().unflatten(1, (self.num_modes, -1)) for head in self._heads)
        return GaussianMixture(logits.float(), mean, log_std.clamp(self.min_log_std, MAX_LOG_STD))

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """As the base: the negative log likelihood by entry; nothing is random here."""
        log_prob, full = self._log_prob(features, actions, valid, feature_valid)
        return {"action_loss": likelihood_term(log_prob, full)}

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """`normal` (B, H A) for the chunk, and `uniform` (B,) for the mode."""
        normal = row_normal(seeds, (self.action_horizon * self.action_dim,))
        return {"normal": normal, "uniform": row_uniform(seeds, stream=1)}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """As the base; differentiable in the mean and standard deviation (a reparametrised sample)."""
        mixture = self.distribution(features, feature_valid)
        chunk = self._chunk(mixture.draw(numbers["uniform"], numbers["normal"], self.std_scale))
        return torch.tanh(chunk) if self.squash else chunk

    def log_prob(
        self, features: Tensor, actions: Tensor, valid: Tensor | None = None, feature_valid: Tensor | None = None
    ) -> Tensor:
        """Return the log density (B,) of chunks (B, H, A), or (B, A) with chunk_size=1, of their valid entries only."""
        if self.action_horizon == 1 and actions.dim() == 2:
            actions, valid = actions[:, None], None if valid is None else valid[:, None]
        if valid is None:
            valid = torch.ones_like(actions, dtype=torch.bool)
        return self._log_prob(features, actions, valid, feature_valid)[0]

    def entropy(self, features: Tensor, feature_valid: Tensor | None = None) -> Tensor:
        """Return the differential entropy (B,) of a chunk.

        Raises:
            ValueError: for mixtures and squashed Gaussians, which have no closed form.
        """
        if self.num_modes > 1 or self.squash:
            kind = f"num_modes={self.num_modes}, squash={self.squash}"
            raise ValueError(f"the entropy with {kind} has no closed form; use the mean of -log_prob over samples")
        log_std = self.distribution(features, feature_valid).log_std
        return (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum(dim=(1, 2))

    @property
    def _heads(self) -> tuple[nn.Linear, nn.Linear]:
        return self.mean_head, self.log_std_head

    def _chunk(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (self.action_horizon, self.action_dim))

    def _log_prob(
        self, features: Tensor, actions: Tensor, valid: Tensor, feature_valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Log density (B,) of the valid entries, and which those are (B, H, A)."""
        clean, full = self.clean_actions(actions, valid)
        flat, flat_valid = clean.flatten(1), full.flatten(1)
        if not self.squash:
            return self.distribution(features, feature_valid).log_prob(flat, flat_valid), full
        flat = torch.atanh(flat.clamp(-LARGEST_SQUASHED, LARGEST_SQUASHED))
        slope = 2.0 * (math.log(2.0) - flat - F.softplus(-2.0 * flat))  # log(1 - tanh(x)^2), stable for large x
        log_det = torch.where(flat_valid, slope, 0.0).sum(dim=1)
        return self.distribution(features, feature_valid).log_prob(flat, flat_valid) - log_det, full
