"""The gripper opens or closes: a classifier for every step of the chunk."""

from __future__ import annotations

from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp


class GripperClassifier(nn.Module):
    """State to one logit a step; positive means +1 (close or open, as the robot defines it), negative -1."""

    def __init__(self, state_dim: int, hidden_dim: int, action_horizon: int) -> None:
        super().__init__()
        self.mlp = mlp((state_dim, hidden_dim, hidden_dim, action_horizon))

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (B, H) from z (B, state_dim)."""
        return self.mlp(in_dtype_of(self, z))


def gripper_target(action: Tensor) -> Tensor:
    """{-1, +1} to {0, 1} as floats; anything above 0 counts as +1."""
    return (action > 0).float()


def gripper_action(logits: Tensor) -> Tensor:
    """Convert logits to {-1, +1} as floats."""
    return (logits > 0).float() * 2.0 - 1.0
