"""Names of activations, for configs that are read before PyTorch is loaded."""

from __future__ import annotations

from typing import Literal

Activation = Literal["mish", "silu"]
"""What follows each LayerNorm of a perceptron."""
