"""Features that a condition scales and shifts (FiLM; Perez et al., 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp


class FiLM(nn.Module):
    """Feature-wise linear modulation. At first it changes nothing.

    Args:
        condition_dim: width C of the condition.
        dim: number D of features.
    """

    def __init__(self, condition_dim: int, dim: int) -> None:
        super().__init__()
        self.layers = mlp((condition_dim, condition_dim, 2 * dim))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return features (..., D) under conditions (..., C)."""
        scale, shift = self.layers(in_dtype_of(self.layers, condition)).chunk(2, dim=-1)
        return features * (1 + scale) + shift
