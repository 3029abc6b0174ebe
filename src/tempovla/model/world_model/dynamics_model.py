"""A world model without a decoder: latent dynamics, rewards, values and a policy prior, as in TD-MPC2.

Hansen, Su and Wang: TD-MPC2: Scalable, robust world models for continuous control, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.many_rows import for_many_rows, simplex_of_many_rows
from tempovla.model.layers.normed_mlp import EnsembleMLP, NormedMLP, SimNorm
from tempovla.model.world_model.ema_target import EmaTarget
from tempovla.model.world_model.inverse_dynamics import GoalInverseDynamics
from tempovla.model.world_model.latent_encoder import LatentEncoder
from tempovla.model.world_model.two_hot import TwoHot
from tempovla.timeline import Context, Track

MANY = 64
"""Rows from which on it pays to prepare the weights for `for_many_rows`."""


@dataclass(frozen=True)
class LatentDynamicsConfig:
    """Sizes of the model; the defaults are those of TD-MPC2 with five million weights.

    Attributes:
        latent_dim: size D of the latent state, a multiple of `group_dim`.
        group_dim: numbers of a group of the simplicial normalisation.
        encoder_dim: width of the encoder of the robot's state.
        channels: of the convolutions over pictures.
        hidden_dim: width of all other perceptrons.
        num_values: number of value functions.
        dropout: in the value functions.
        bins: number of bins of rewards and values.
        symlog_range: of the bins, to both sides of 0.
        log_std_min: least logarithm of the policy's standard deviation.
        log_std_max: greatest one.
        value_tau: share of the learned values in their slow copy after each step.
        predicts_end: whether the model predicts that an episode terminates.
    """

    latent_dim: int = 512
    group_dim: int = 8
    encoder_dim: int = 256
    channels: int = 32
    hidden_dim: int = 512
    num_values: int = 5
    dropout: float = 0.01
    bins: int = 101
    symlog_range: float = 10.0
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    value_tau: float = 0.01
    predicts_end: bool = False

    def __post_init__(self) -> None:
        for name in ("latent_dim", "group_dim", "encoder_dim", "channels", "hidden_dim", "num_values"):
            if getattr(self, name) < 1:
                raise ValueError(f"dynamics.{name}={getattr(self, name)} must be at least 1")
        if self.latent_dim % self.group_dim:
            raise ValueError(
                f"dynamics.latent_dim={self.latent_dim} is no multiple of group_dim={self.group_dim}; change one"
            )
        if self.bins < 2 or not 0 < self.symlog_range < math.inf:
            raise ValueError(
                f"dynamics.bins={self.bins} within {self.symlog_range} must be at least 2, within a finite range"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dynamics.dropout={self.dropout} must be at least 0, and less than 1")
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"dynamics.log_std_min={self.log_std_min} must be less than log_std_max={self.log_std_max}"
            )
        if not 0 < self.value_tau <= 1:
            raise ValueError(f"dynamics.value_tau={self.value_tau} must be greater than 0, and at most 1")


class LatentDynamics(nn.Module):
    """The model; it is a `WorldModel` whose states are tensors (..., D).

    Args:
        config: its sizes.
        action_dim: dimensions A of an action.
        state_dim: dimensions of the robot's state; None where it is not read.
        cameras: keys of the pictures.
        discount: of a step.
        inverse_steps: number of steps to the farthest goal of its inverse dynamics; 0 leaves these out.
    """

    def __init__(
        self,
        config: LatentDynamicsConfig,
        action_dim: int,
        state_dim: int | None,
        cameras: tuple[str, ...] = (),
        discount: float = 0.99,
        inverse_steps: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.discount, self.action_dim = config, discount, action_dim
        latent, hidden = config.latent_dim, (config.hidden_dim, config.hidden_dim)
        self.encoder = LatentEncoder(latent, state_dim, cameras, config.encoder_dim, config.channels, config.group_dim)
        self.dynamics = NormedMLP((latent + action_dim, *hidden, latent))
        self.dynamics_norm, self.simplex = nn.LayerNorm(latent), SimNorm(config.group_dim)
        self.two_hot = TwoHot(config.bins, -config.symlog_range, config.symlog_range)
        self.reward = NormedMLP((latent + action_dim, *hidden, config.bins), zero_output=True)
        self.end = NormedMLP((latent, *hidden, 1)) if config.predicts_end else None
        self.actor = NormedMLP((latent, *hidden, 2 * action_dim))
        sizes = (latent + action_dim, *hidden, config.bins)
        self.values = EnsembleMLP(config.num_values, sizes, config.dropout)
        self.slow_values = EmaTarget(self.values)
        self.inverse = (
            GoalInverseDynamics(latent, action_dim, config.hidden_dim, inverse_steps) if inverse_steps else None
        )

    def train(self, mode: bool = True) -> LatentDynamics:
        """Let the parts learn or not; the slow values never do."""
        super().train(mode)
        self.slow_values.train(False)
        return self

    def encode(self, observation: Context, previous: Any = None) -> Tensor:
        """Return the latent state (B, D) of what is seen now."""
        return self.encode_at(observation.now, 0)[0]

    def encode_at(self, tracks: Mapping[str, Track], offset: int) -> tuple[Tensor, Tensor]:
        """Return the latent state (B, D) at one offset, and (B,) bool whether everything that is read was seen."""
        return self.encoder(tracks, offset)

    def step(self, z: Tensor, action: Tensor) -> Tensor:
        """Return the state (..., D) after one action (..., A)."""
        return self.simplex(self.dynamics_norm(self.dynamics(torch.cat([z, action], dim=-1))))

    def imagine(self, state: Tensor, actions: Tensor) -> Tensor:
        """Return the states (B, N, H, D) after each of H actions (B, N, H, A)."""
        z, states = state[:, None].expand(-1, actions.shape[1], -1), []
        step = self._stepper(actions.shape[0] * actions.shape[1])
        for action in actions.unbind(dim=2):
            z = step(torch.cat([z, action], dim=-1))
            states.append(z)
        return torch.stack(states, dim=2)

    def predict_rewards(self, state: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Return the rewards (B, N, H) of actions (B, N, H, A) that led from a state (B, D) to the imagined ones."""
        first = state[:, None, None].expand(-1, actions.shape[1], 1, -1)
        before = torch.cat([first, states[:, :, :-1]], dim=2)
        return self.two_hot.decode(for_many_rows(self.reward)(torch.cat([before, actions], dim=-1)))

    def predict_return(self, state: Tensor, actions: Tensor) -> Tensor:
        """Return the discounted return (B, N) of actions (B, N, H, A), and the value of what follows them."""
        return self.returns_from(state)(actions)

    def returns_from(self, state: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `predict_return` from a state (B, D) as a function of actions alone, with the weights of now.

        A search calls it once a round, so that what all rounds share is done once.
        """
        step, reward = self._stepper(MANY), for_many_rows(self.reward)
        actor, values = for_many_rows(self.actor), for_many_rows(self.values)

        def returns(actions: Tensor) -> Tensor:
            z = state[:, None].expand(-1, actions.shape[1], -1)
            total = torch.zeros_like(actions[:, :, 0, 0], dtype=torch.float32)
            lives, weight = torch.ones_like(total), 1.0
            for action in actions.unbind(dim=2):
                joined = torch.cat([z, action], dim=-1)
                total = total + weight * lives * self.two_hot.decode(reward(joined))
                z, weight = step(joined), weight * self.discount
                if self.end is not None:
                    lives = torch.where(self.end(z)[..., 0] > 0, 0.0, lives)
            last = torch.cat([z, actor(z).float().chunk(2, dim=-1)[0].tanh()], dim=-1)
            return total + weight * lives * self.two_hot.decode(values(last)).mean(dim=0)

        return returns

    def _stepper(self, rows: int) -> Callable[[Tensor], Tensor]:
        """A function from states and actions (..., D + A) to the next states (..., D), with the weights of now."""
        dynamics = for_many_rows(self.dynamics) if rows >= MANY else self.dynamics
        return lambda joined: simplex_of_many_rows(self.simplex, self.dynamics_norm(dynamics(joined)))

    def policy(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the standard deviation (..., A) of actions before tanh."""
        mean, raw = self.actor(z).float().chunk(2, dim=-1)
        low, high = self.config.log_std_min, self.config.log_std_max
        return mean, low + 0.5 * (high - low) * (raw.tanh() + 1.0)

    def policy_mean(self, z: Tensor) -> Tensor:
        """Return the policy's most likely actions (..., A) in [-1, 1]."""
        return self.policy(z)[0].tanh()

    def policy_sample(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return actions (..., A) in [-1, 1] from standard normal noise (..., A)."""
        mean, log_std = self.policy(z)
        return (mean + noise * log_std.exp()).tanh()

    def policy_rollouts(self, state: Tensor, noise: Tensor) -> Tensor:
        """Return actions (B, P, H, A) that the policy takes in imagination, from noise (B, P, H, A)."""
        z = state[:, None].expand(-1, noise.shape[1], -1)
        step = self._stepper(noise.shape[0] * noise.shape[1])
        actions: list[Tensor] = []
        for drawn in noise.unbind(dim=2):
            z = step(torch.cat([z, actions[-1]], dim=-1)) if actions else z
            actions.append(self.policy_sample(z, drawn))
        return torch.stack(actions, dim=2)

    def inverse_action(self, state: Tensor, goal: Tensor, steps_left: int) -> Tensor:
        """Return the actions (B, A) with which rows (B, D) begin on the way to goals (B, D) so many steps away.

        Raises:
            ValueError: if the model did not learn to.
        """
        if self.inverse is None:
            raise ValueError(
                "the world model did not learn inverse dynamics; train it with model.tdmpc.inverse_dynamics_weight=1"
            )
        return self.inverse(state, goal, torch.full(state.shape[:1], float(steps_left), device=state.device))

    def value_logits(self, z: Tensor, action: Tensor, *, detach: bool = False) -> Tensor:
        """Return the logits (E, ..., K) of all value functions; with `detach` their weights get no gradient."""
        return self.values(torch.cat([z, action], dim=-1), detach=detach)

    def value(self, z: Tensor, action: Tensor, *, detach: bool = False) -> Tensor:
        """Return what each value function expects (E, ...)."""
        return self.two_hot.decode(self.value_logits(z, action, detach=detach))

    def slow_value(self, z: Tensor, action: Tensor) -> Tensor:
        """Return what each slow value function expects (E, ...), without gradient."""
        return self.two_hot.decode(self.slow_values(torch.cat([z, action], dim=-1)))

    def after_step(self) -> None:
        """Move the slow values towards the learned ones."""
        self.slow_values.update(self.values, 1.0 - self.config.value_tau)
