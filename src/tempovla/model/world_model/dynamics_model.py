"""A world model without a decoder: latent dynamics, rewards, values and a policy prior, as in TD-MPC2.

Hansen, Su and Wang: TD-MPC2: Scalable, robust world models for continuous control, 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.many_rows import for_many_rows
from tempovla.model.layers.normed_mlp import EnsembleMLP, NormedMLP, SimNorm
from tempovla.model.world_model.checks import check_imagined, check_observation
from tempovla.model.world_model.dynamics_config import LatentDynamicsConfig
from tempovla.model.world_model.ema_target import EmaTarget
from tempovla.model.world_model.inverse_dynamics import GoalInverseDynamics
from tempovla.model.world_model.latent_encoder import LatentEncoder
from tempovla.model.world_model.two_hot import TwoHot
from tempovla.timeline import Context, Track
from tempovla.timeline.keys import STATE_KEY

MANY = 64
"""Rows from which on it pays to prepare the weights for `for_many_rows`."""


class LatentDynamics(nn.Module):
    """The model; it is a `WorldModel` whose states are tensors (..., D).

    Args:
        config: its sizes.
        action_dim: dimensions A of an action.
        state_dim: dimensions of the robot's state; None where it is not read.
        cameras: keys of the pictures.
        discount: of a step.
        state_key: key of the state.
        inverse_steps: number of steps to the farthest goal of its inverse dynamics; 0 leaves these out.
    """

    def __init__(
        self,
        config: LatentDynamicsConfig,
        action_dim: int,
        state_dim: int | None,
        cameras: tuple[str, ...] = (),
        discount: float = 0.99,
        state_key: str = STATE_KEY,
        inverse_steps: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.discount, self.action_dim = config, discount, action_dim
        latent, hidden = config.latent_dim, (config.hidden_dim, config.hidden_dim)
        self.encoder = LatentEncoder(
            latent,
            state_dim,
            cameras,
            config.encoder_dim,
            config.channels,
            config.group_dim,
            state_key,
            config.activation,
            config.normalize_state,
        )
        perceptron = partial(NormedMLP, activation=config.activation)
        self.dynamics = perceptron((latent + action_dim, *hidden, latent))
        self.dynamics_norm, self.simplex = nn.LayerNorm(latent), SimNorm(config.group_dim)
        self.two_hot = TwoHot(config.bins, -config.symlog_range, config.symlog_range)
        self.reward = perceptron((latent + action_dim, *hidden, config.bins), zero_output=True)
        self.end = perceptron((latent, *hidden, 1)) if config.predicts_end else None
        self.actor = perceptron((latent, *hidden, 2 * action_dim))
        sizes = (latent + action_dim, *hidden, config.bins)
        self.values = EnsembleMLP(config.num_values, sizes, config.dropout, config.activation)
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
        """Return the latent state (B, D) of what is seen now.

        Raises:
            ValueError: if the observation lacks what the model reads, or has it in another size.
        """
        check_observation(observation, self.encoder.shapes)
        return self.encode_at(observation.now, 0)[0]

    def encode_at(self, tracks: Mapping[str, Track], offset: int) -> tuple[Tensor, Tensor]:
        """Return the latent state (B, D) at one offset, and (B,) bool whether everything that is read was seen."""
        return self.encoder(tracks, offset)

    def step(self, z: Tensor, action: Tensor) -> Tensor:
        """Return the state (..., D) after one action (..., A)."""
        return self.simplex(self.dynamics_norm(self.dynamics(torch.cat([z, action], dim=-1))))

    def imagine(self, state: Tensor, actions: Tensor) -> Tensor:
        """Return the states (B, N, H, D) after each of H actions (B, N, H, A).

        Raises:
            ValueError: if the actions do not fit the model or the state, or are none.
        """
        check_imagined(actions, len(state), self.action_dim)
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

    def returns_from(self, state: Tensor, policy_cost: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Return `predict_return` from a state (B, D) as a function of actions alone, with the weights of now.

        A search calls it once a round, so that what all rounds share is done once.

        Args:
            state: to begin with.
            policy_cost: () what a squared distance of 1 from the policy's most likely action costs, beside the reward;
                None if nothing.
        """
        step, reward = self._stepper(MANY), for_many_rows(self.reward)
        actor, values = for_many_rows(self.actor), for_many_rows(self.values)

        def returns(actions: Tensor) -> Tensor:
            z = state[:, None].expand(-1, actions.shape[1], -1)
            total = torch.zeros_like(actions[:, :, 0, 0], dtype=torch.float32)
            lives, weight = torch.ones_like(total), 1.0
            for action in actions.unbind(dim=2):
                joined = torch.cat([z, action], dim=-1)
                gain = self.two_hot.decode(reward(joined))
                if policy_cost is not None:
                    likely = actor(z).float().chunk(2, dim=-1)[0].tanh()
                    gain = gain - policy_cost * (action - likely).square().sum(dim=-1)
                total = total + weight * lives * gain
                z, weight = step(joined), weight * self.discount
                if self.end is not None:
                    lives = torch.where(self.end(z)[..., 0] > 0, 0.0, lives)
            last = torch.cat([z, actor(z).float().chunk(2, dim=-1)[0].tanh()], dim=-1)
            return total + weight * lives * self.two_hot.decode(values(last)).mean(dim=0)

        return returns

    def _stepper(self, rows: int) -> Callable[[Tensor], Tensor]:
        """A function from states and actions (..., D + A) to the next states (..., D), with the weights of now."""
        dynamics = for_many_rows(self.dynamics) if rows >= MANY else self.dynamics
        return lambda joined: self.simplex(self.dynamics_norm(dynamics(joined)))

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
