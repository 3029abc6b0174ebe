"""The action that leads from one latent state to another in some steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.normed_mlp import NormedMLP


class GoalInverseDynamics(nn.Module):
    """From the state now, a goal and the steps until then to the action that is done now.

    Args:
        latent_dim: size D of a state.
        action_dim: dimensions A of an action in [-1, 1].
        hidden_dim: width of the perceptron.
        most_steps: number of steps to the farthest goal that it learns from; goals that are farther count as this far.
    """

    def __init__(self, latent_dim: int, action_dim: int, hidden_dim: int, most_steps: int) -> None:
        super().__init__()
        self.most_steps = most_steps
        self.network = NormedMLP((2 * latent_dim + 2, hidden_dim, hidden_dim, action_dim))

    def forward(self, z: Tensor, goal: Tensor, steps: Tensor) -> Tensor:
        """Return actions (..., A) from states (..., D), goals (..., D) and steps (...), which must be at least 1."""
        left = steps.clamp(max=self.most_steps).to(z)
        time = torch.stack([left / self.most_steps, 1.0 / left], dim=-1)
        return self.network(torch.cat([z, goal, time], dim=-1)).tanh()
