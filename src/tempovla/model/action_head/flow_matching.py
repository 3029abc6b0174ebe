"""Flow matching: transport noise to actions along straight lines (Lipman et al., 2023; Liu et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.embedding import sinusoidal_embedding

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Velocity (B, H, A) at x (B, H, A) and flow time (B,)."""


def velocity_pair(velocity: Velocity, action: Tensor, noise: Tensor, flow_time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predicted and true velocity (B, H, A) at flow time (B,) on the line from action (time 0) to noise
    (time 1).
    """
    sigma = flow_time[:, None, None]
    return velocity((1.0 - sigma) * action + sigma * noise, flow_time), noise - action


def integrate(velocity: Velocity, noise: Tensor, num_steps: int) -> Tensor:
    """Return actions (B, H, A) from noise (B, H, A) by `num_steps` Euler steps from flow time 1 to 0."""
    x = noise
    for step in range(num_steps):
        flow_time = torch.full((x.shape[0],), 1.0 - step / num_steps, device=x.device)
        x = x - velocity(x, flow_time).to(x.dtype) / num_steps
    return x


class FlowMatchingPolicy(nn.Module):
    """Velocity field over chunks of actions, given a state.

    The path is x_sigma = (1 - sigma) * x0 + sigma * noise for flow time sigma in [0, 1], with actions at 0 and noise at
    1; its velocity is noise - x0. The network reads the sequence [sigma, z, x_1 ... x_H] and answers at the x.

    Args:
        state_dim: size of z.
        action_dim: size A of the continuous part of an action.
        action_horizon: steps H of a chunk.
        embed_dim: width of the sequence.
        backbone: module (B, 2 + H, embed_dim) to the same shape, aware of position.
    """

    def __init__(
        self, state_dim: int, action_dim: int, action_horizon: int, embed_dim: int, backbone: nn.Module
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.action_horizon = action_horizon
        self.embed_dim = embed_dim
        self.flow_time = nn.Linear(embed_dim, embed_dim)
        self.state = nn.Linear(state_dim, embed_dim)
        self.action_in = nn.Linear(action_dim, embed_dim)
        self.backbone = backbone
        self.velocity_out = nn.Linear(embed_dim, action_dim)
        nn.init.zeros_(self.velocity_out.weight)
        nn.init.zeros_(self.velocity_out.bias)

    def velocity(self, x: Tensor, flow_time: Tensor, z: Tensor) -> Tensor:
        """Return the velocity (B, H, A) at x (B, H, A), flow time (B,) and state (B, state_dim)."""
        time, z, x = (in_dtype_of(self, value) for value in (sinusoidal_embedding(flow_time, self.embed_dim), z, x))
        head = torch.stack([self.flow_time(time), self.state(z)], dim=1)
        tokens = torch.cat([head, self.action_in(x)], dim=1)
        return self.velocity_out(self.backbone(tokens)[:, 2:])

    def training_pair(self, action: Tensor, noise: Tensor, flow_time: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted and true velocity (B, H, A) for action and noise (B, H, A), flow time (B,), z (B,
        state_dim).
        """
        return velocity_pair(lambda x, time: self.velocity(x, time, z), action, noise, flow_time)

    def sample(self, z: Tensor, noise: Tensor, num_steps: int) -> Tensor:
        """Return actions (B, H, A) from noise (B, H, A) by `num_steps` Euler steps from flow time 1 to 0."""
        return integrate(lambda x, time: self.velocity(x, time, z), noise, num_steps)
