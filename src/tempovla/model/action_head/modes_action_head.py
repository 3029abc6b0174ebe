"""Several chunks of actions with probabilities, for observations after which several futures are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from tempovla.model.action_head.base import ActionHeadBase, Generator, check_choice, check_sizes
from tempovla.model.action_head.mlp_action_head import relu_mlp
from tempovla.timeline import LossTerm


class ModesActionHead(ActionHeadBase):
    """K chunks and their probabilities, learned by "winner takes all" (Guzman-Rivera et al., 2012).

    The chunk that is nearest to the demonstrated one learns from it, and a classifier learns which chunk that is, as in
    MTP (Cui et al., 2019). A small weight on all chunks keeps those from starving that are never nearest (Rupprecht et
    al., 2017). The head acts by the most probable chunk.

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        hidden_dim: width of the hidden layers.
        chunk_size: steps H of a chunk.
        num_modes: number K of chunks.
        num_layers: hidden layers.
        loss: `l1` or `mse`, of the nearest chunk.
        mode_weight: weight of the classifier's loss.
        relaxation: weight of the same loss over all chunks; 0 trains the nearest alone.
    """

    horizon_keyword = "chunk_size"

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        hidden_dim: int = 256,
        chunk_size: int = 1,
        num_modes: int = 3,
        num_layers: int = 2,
        loss: Literal["l1", "mse"] = "l1",
        mode_weight: float = 0.1,
        relaxation: float = 0.05,
    ) -> None:
        super().__init__(input_dim, action_dim, chunk_size)
        name = "ModesActionHead"
        check_sizes(name, hidden_dim=hidden_dim, num_modes=num_modes, num_layers=num_layers)
        check_choice(name, "loss", loss, ("l1", "mse"))
        if mode_weight < 0 or relaxation < 0:
            raise ValueError(f"{name}: mode_weight={mode_weight} and relaxation={relaxation} must not be negative")
        self.num_modes, self.loss = num_modes, loss
        self.mode_weight, self.relaxation = mode_weight, relaxation
        self.trunk = relu_mlp(input_dim, hidden_dim, num_layers)
        self.chunks = nn.Linear(hidden_dim, num_modes * chunk_size * action_dim)
        self.logits = nn.Linear(hidden_dim, num_modes)

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """Return `action_loss` of the nearest chunk, `mode_loss` of the classifier and `relaxed_loss` of all chunks."""
        clean, full = self.clean_actions(actions, valid)
        chunks, logits = self._predicted(features, feature_valid)
        with torch.no_grad():
            error = torch.where(full[:, None], (chunks.float() - clean[:, None]).abs(), 0.0)
            nearest = error.sum(dim=(2, 3)).argmin(dim=1)
        chosen = chunks.gather(1, nearest[:, None, None, None].expand(-1, 1, *chunks.shape[2:]))[:, 0]
        terms = {
            "action_loss": LossTerm(chosen, clean, full, kind=self.loss),
            "mode_loss": LossTerm(logits, nearest, full.flatten(1).any(dim=1), self.mode_weight, "cross_entropy"),
        }
        if self.relaxation:
            every, target = full[:, None].expand(chunks.shape), clean[:, None].expand(chunks.shape)
            terms["relaxed_loss"] = LossTerm(chunks, target, every, self.relaxation, self.loss)
        return terms

    def modes(self, features: Tensor, *, feature_valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return all chunks (B, K, H, A) and their probabilities (B, K)."""
        chunks, logits = self._predicted(features, feature_valid)
        return chunks.float(), logits.float().softmax(dim=-1)

    def sample(self, features: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None) -> Tensor:
        """Return the most probable chunk; nothing is random here."""
        chunks, logits = self._predicted(features, feature_valid)
        best = logits.argmax(dim=1)[:, None, None, None].expand(-1, 1, *chunks.shape[2:])
        return chunks.gather(1, best)[:, 0].float()

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """None."""
        return {}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """As `sample`."""
        return self.sample(features, feature_valid=feature_valid)

    def _predicted(self, features: Tensor, feature_valid: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(self.pooled(features, feature_valid))
        shape = (self.num_modes, self.action_horizon, self.action_dim)
        return self.chunks(hidden).unflatten(1, shape), self.logits(hidden)
