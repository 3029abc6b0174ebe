"""The plain head: one chunk of actions for a feature, by regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from tempovla.model.action_head.base import ActionHeadBase, Generator, check_choice, check_sizes
from tempovla.timeline import LossTerm


class MLPActionHead(ActionHeadBase):
    """Deterministic regression of a chunk; where several actions are right, it answers their mean (or median).

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        hidden_dim: width of the hidden layers.
        chunk_size: steps H of a chunk.
        num_layers: hidden layers.
        loss: `l1` (Kim et al., 2025, found it better than `mse` for chunks) or `mse`.
    """

    horizon_keyword = "chunk_size"

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        hidden_dim: int = 256,
        chunk_size: int = 1,
        num_layers: int = 2,
        loss: Literal["l1", "mse"] = "l1",
    ) -> None:
        super().__init__(input_dim, action_dim, chunk_size)
        check_sizes("MLPActionHead", hidden_dim=hidden_dim, num_layers=num_layers)
        check_choice("MLPActionHead", "loss", loss, ("l1", "mse"))
        self.loss = loss
        output = nn.Linear(hidden_dim, chunk_size * action_dim)
        self.mlp = nn.Sequential(*relu_mlp(input_dim, hidden_dim, num_layers), output)

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """Do as the base does; nothing is random here."""
        clean, full = self.clean_actions(actions, valid)
        return {"action_loss": LossTerm(self._chunk(features, feature_valid), clean, full, kind=self.loss)}

    def sample(self, features: Tensor, generator: Generator = None, *, feature_valid: Tensor | None = None) -> Tensor:
        """Do as the base does; nothing is random here."""
        return self._chunk(features, feature_valid).float()

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

    def _chunk(self, features: Tensor, feature_valid: Tensor | None) -> Tensor:
        flat = self.mlp(self.pooled(features, feature_valid))
        return flat.unflatten(1, (self.action_horizon, self.action_dim))


def relu_mlp(input_dim: int, hidden_dim: int, num_layers: int) -> nn.Sequential:
    """Return hidden layers, each with a ReLU."""
    layers: list[nn.Module] = [nn.Linear(input_dim, hidden_dim), nn.ReLU()]
    for _ in range(num_layers - 1):
        layers += [nn.Linear(hidden_dim, hidden_dim), nn.ReLU()]
    return nn.Sequential(*layers)
