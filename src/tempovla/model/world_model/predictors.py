"""Numbers and ends that are predicted from the state of a world model."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from tempovla.model.layers.normed_mlp import NormedMLP
from tempovla.model.world_model.checks import check_features
from tempovla.model.world_model.two_hot import TwoHot


class NumberPredictor(nn.Module):
    """One number for each state, as a distribution over bins or as itself; 0 at first.

    Args:
        state_dim: size of the features that it is predicted from, such as `RSSM.feature_dim`.
        hidden_dim: width of the perceptron.
        num_layers: of the perceptron.
        loss: `two_hot` or `mse`.
        bins: number of bins of `two_hot`.
        symlog_range: of the bins, to both sides of 0.
    """

    def __init__(
        self,
        state_dim: int,
        hidden_dim: int = 512,
        num_layers: int = 2,
        loss: Literal["two_hot", "mse"] = "two_hot",
        bins: int = 255,
        symlog_range: float = 20.0,
    ) -> None:
        super().__init__()
        self.state_dim = state_dim
        self.two_hot = TwoHot(bins, -symlog_range, symlog_range) if loss == "two_hot" else None
        outputs = 1 if self.two_hot is None else bins
        self.mlp = NormedMLP((state_dim, *(hidden_dim,) * num_layers, outputs), zero_output=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return numbers (...) float32 from features (..., state_dim)."""
        check_features(features, self.state_dim)
        raw = self.mlp(features)
        return raw[..., 0].float() if self.two_hot is None else self.two_hot.decode(raw)

    def losses(self, features: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
        """Return the losses (...) float32 of predictions from features (..., state_dim) with each target (...)."""
        raw = self.mlp(features)
        if self.two_hot is None:
            return tuple((raw[..., 0].float() - target.float()).square() for target in targets)
        return tuple(self.two_hot.loss(raw, target) for target in targets)


class RewardPredictor(NumberPredictor):
    """The reward of the action that led to a state, p(r_t | s_t)."""


class ContinuePredictor(nn.Module):
    """Whether an episode goes on in a state.

    Args:
        state_dim: size of the features that it is predicted from.
        hidden_dim: width of the perceptron.
        num_layers: of the perceptron.
    """

    def __init__(self, state_dim: int, hidden_dim: int = 512, num_layers: int = 2) -> None:
        super().__init__()
        self.mlp = NormedMLP((state_dim, *(hidden_dim,) * num_layers, 1))

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (...) from features (..., state_dim)."""
        return self.mlp(features)[..., 0]

    def forward(self, features: Tensor) -> Tensor:
        """Return the probability (...) float32 that the episode goes on."""
        return self.logits(features).float().sigmoid()
