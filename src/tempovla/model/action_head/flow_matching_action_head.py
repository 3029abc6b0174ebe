"""Flow matching as an action head: noise to actions along straight lines, in a few steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from tempovla.model.action_head.base import DrawingActionHead, Generator, check_choice, check_sizes, repeat_rows
from tempovla.model.action_head.decoder import TransformerDenoiser
from tempovla.model.action_head.flow_matching import FlowMatchingPolicy, Velocity, integrate, velocity_pair
from tempovla.model.layers.sequence import sequence_encoder
from tempovla.timeline import LossTerm
from tempovla.timeline.noise import row_normal, row_seeds, row_uniform


class FlowMatchingActionHead(DrawingActionHead):
    """Rectified flow: x = (1 - s) action + s noise at flow time s, and the network learns noise - action.

    Args:
        input_dim: features D.
        action_dim: dimensions A of an action.
        horizon: steps H of a chunk.
        num_steps: Euler steps from noise to actions.
        draws: (noise, flow time) pairs to train on for every row of a batch.
        network: `transformer` or `mamba` read one sequence of flow time, mean feature and actions (StateVLA's policy);
            `cross_attention` attends to every feature token.
        hidden_dim: width of the network.
        num_layers: its depth.
        num_heads: attention heads.
    """

    horizon_keyword = "horizon"

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        horizon: int = 16,
        num_steps: int = 10,
        draws: int = 1,
        network: Literal["transformer", "mamba", "cross_attention"] = "transformer",
        hidden_dim: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
    ) -> None:
        super().__init__(input_dim, action_dim, horizon)
        name = "FlowMatchingActionHead"
        check_sizes(name, num_steps=num_steps, draws=draws, hidden_dim=hidden_dim, num_layers=num_layers)
        check_choice(name, "network", network, ("transformer", "mamba", "cross_attention"))
        self.num_steps = num_steps
        self.draws = draws
        self.network: FlowMatchingPolicy | TransformerDenoiser
        if network == "cross_attention":
            self.network = TransformerDenoiser(input_dim, action_dim, horizon, hidden_dim, num_layers, num_heads)
        else:
            sizes = {"dim": hidden_dim, "depth": num_layers, "max_length": 2 + horizon, "num_heads": num_heads}
            backbone = sequence_encoder(network, **sizes, d_state=16, d_conv=4, expand=2)
            self.network = FlowMatchingPolicy(input_dim, action_dim, horizon, hidden_dim, backbone)

    def loss_terms(
        self,
        features: Tensor,
        actions: Tensor,
        valid: Tensor,
        generator: Generator = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> dict[str, LossTerm]:
        """As the base: velocities, at `draws` points of the way between noise and action."""
        clean, full = self.clean_actions(actions, valid)
        seeds = row_seeds(generator, len(clean), clean.device)
        noise = self.clean_noise(row_normal(seeds, (self.draws, *clean.shape[1:]), stream=1), valid).flatten(0, 1)
        flow_time = row_uniform(seeds, (self.draws,), stream=2).flatten()
        velocity = self._velocity(features, feature_valid, self.draws)
        clean, full = repeat_rows(self.draws, clean, full)
        return {"action_loss": LossTerm(*velocity_pair(velocity, clean, noise, flow_time), full)}

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        """`normal` (B, H, A), where the way to the actions begins."""
        return {"normal": row_normal(seeds, (self.action_horizon, self.action_dim))}

    def sample_with(
        self,
        features: Tensor,
        numbers: Mapping[str, Tensor],
        own: Tensor | None = None,
        *,
        feature_valid: Tensor | None = None,
    ) -> Tensor:
        """Do as the base does."""
        if own is None:
            return self.sample_from(features, numbers["normal"], feature_valid=feature_valid)
        velocity = self._velocity(features, feature_valid)
        keep = own[:, None]
        return integrate(
            lambda x, flow_time: torch.where(keep, velocity(x, flow_time), 0.0),
            torch.where(keep, numbers["normal"], 0.0),
            self.num_steps,
        )

    def sample_from(self, features: Tensor, noise: Tensor, *, feature_valid: Tensor | None = None) -> Tensor:
        """Return actions (B, H, A) from standard normal noise (B, H, A)."""
        return integrate(self._velocity(features, feature_valid), noise, self.num_steps)

    def _velocity(self, features: Tensor, feature_valid: Tensor | None, repeats: int = 1) -> Velocity:
        """The velocity field given the features, each row `repeats` times."""
        network = self.network
        if isinstance(network, FlowMatchingPolicy):
            z = self.pooled(features, feature_valid).repeat_interleave(repeats, dim=0)
            return lambda x, flow_time: network.velocity(x, flow_time, z)
        memory = network.condition(*repeat_rows(repeats, *self.as_tokens(features, feature_valid)))
        return lambda x, flow_time: network(x, flow_time, memory)
