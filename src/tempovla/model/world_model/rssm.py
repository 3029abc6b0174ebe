"""A recurrent state-space model: what it knows after each observation, and what it imagines without any.

Hafner et al.: Learning latent dynamics for planning from pixels, 2019; Mastering diverse domains through world models
(DreamerV3), 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.normed_mlp import NormedMLP
from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.checks import check_imagined, check_observation, check_state
from tempovla.model.world_model.latents import latent_of
from tempovla.model.world_model.observation_decoder import CAMERA, ObservationDecoder
from tempovla.model.world_model.observation_encoder import ObservationEncoder
from tempovla.model.world_model.predictors import ContinuePredictor, RewardPredictor
from tempovla.model.world_model.recurrent_core import RecurrentCore
from tempovla.model.world_model.rssm_config import RSSMConfig
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.timeline import Context
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

WHITE = 255.0
"""The largest value of a picture's colours."""


@dataclass(frozen=True)
class Observed:
    """What a sequence of observations leads to.

    Attributes:
        states: (B, T, ...) after each step.
        prior: (B, T, R) raw parameters of the stochastic state before the step's observation is seen.
        posterior: (B, T, R) the same once it is seen; it means nothing where there is no observation.
    """

    states: RSSMState
    prior: Tensor
    posterior: Tensor


class RSSM(nn.Module):
    """The model; it is a `WorldModel` whose states are `RSSMState`s, with `features` and `decode`.

    A state is the deterministic path h_t = f(h_{t-1}, z_{t-1}, a_{t-1}) and a stochastic z_t: from the posterior
    q(z_t | h_t, o_t) where there is an observation, and from the prior p(z_t | h_t) where there is none.

    Args:
        state_dim: size of the deterministic state.
        action_dim: dimensions A of an action.
        hidden_dim: width of all perceptrons, and of the vector that an observation becomes.
        robot_state_dim: dimensions of the robot's state; None where it is not read.
        cameras: keys of the pictures, which are 64 px wide and high.
        state_key: key of the state.
        discount: of a step.
        options: other fields of `RSSMConfig`.

    Attributes:
        prior: the transition: from the deterministic state to the raw parameters of the stochastic one.
        posterior: the representation: the same, from the deterministic state and an observation.
        core: the deterministic path.
        encoder: of observations.
        decoder: of observations.
        reward_head: predicts the reward of the action that led to a state.
        continue_head: predicts whether the episode goes on in a state; None without `predicts_end`.

    Raises:
        ValueError: if it sees nothing, or an option does not fit.
    """

    def __init__(
        self,
        state_dim: int = 256,
        action_dim: int = 7,
        hidden_dim: int = 512,
        *,
        robot_state_dim: int | None = None,
        cameras: Sequence[str] = (CAMERA,),
        state_key: str = STATE_KEY,
        discount: float = 0.997,
        **options: Any,
    ) -> None:
        super().__init__()
        if action_dim < 1:
            raise ValueError(
                f"RSSM: action_dim={action_dim} must be at least 1; give the number of the robot's actions"
            )
        if isinstance(cameras, str):
            raise ValueError(f"RSSM: cameras={cameras!r} is one text; give a list of keys, such as [{cameras!r}]")
        unknown = next((name for name in options if name not in RSSMConfig.__dataclass_fields__), None)
        if unknown is not None:
            near = get_close_matches(unknown, ("hidden_dim", "robot_state_dim", *RSSMConfig.__dataclass_fields__), n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RSSMConfig.__dataclass_fields__)}"
            raise ValueError(f"RSSM: the option {unknown!r} is unknown; {hint}")
        if robot_state_dim is None and not cameras:
            raise ValueError("RSSM: robot_state_dim=None and cameras=() leave nothing to see; give one of them")
        config = RSSMConfig(state_dim=state_dim, hidden_dim=hidden_dim, **options)
        self.config, self.discount, self.action_dim = config, discount, action_dim
        self.latent = latent = latent_of(config)
        seen = (robot_state_dim, cameras, hidden_dim, config.num_layers, config.channels, state_key)
        self.encoder = ObservationEncoder(hidden_dim, *seen)
        self.core = RecurrentCore(state_dim, latent.value_dim, action_dim, hidden_dim, config.blocks)
        self.prior = NormedMLP((state_dim, hidden_dim, latent.raw_dim))
        self.posterior = NormedMLP((state_dim + hidden_dim, hidden_dim, latent.raw_dim))
        features = self.feature_dim
        self.decoder = ObservationDecoder(features, *seen)
        sizes, bins = (features, hidden_dim, config.num_layers), (config.reward_loss, config.bins, config.symlog_range)
        self.reward_head = RewardPredictor(*sizes, *bins)
        self.continue_head = ContinuePredictor(*sizes) if config.predicts_end else None

    @property
    def feature_dim(self) -> int:
        """Size of a state's features."""
        return self.config.state_dim + self.latent.value_dim

    def initial_state(self, batch_size: int) -> RSSMState:
        """Return the state of rows that have seen nothing."""
        like = self.core.norm.weight
        sizes = (self.config.state_dim, self.latent.value_dim, self.action_dim)
        return RSSMState(*(torch.zeros(batch_size, size, device=like.device, dtype=like.dtype) for size in sizes))

    def encode(self, observation: Context, previous: RSSMState | None = None, noise: Tensor | None = None) -> RSSMState:
        """Return the state of B rows after what is seen now.

        The action of the step before is the one at offset -1 of the context, as it was really done. Where that is
        unknown, it is the last action of `previous`.

        Args:
            observation: what is seen now; rows that are the first of an episode forget what was before.
            previous: the state of the step before; None for rows that have seen nothing.
            noise: (B, S) from which the stochastic state is drawn; None takes the most likely one.

        Raises:
            ValueError: if the observation lacks what the model reads, or has it in another size, or `previous` has
                other rows.
        """
        check_observation(observation, self.encoder.shapes)
        if previous is not None and previous.batch_size != observation.batch_size:
            raise ValueError(
                f"previous has {previous.batch_size} rows, but the observation has {observation.batch_size}; give as "
                "many"
            )
        state = self.initial_state(observation.batch_size) if previous is None else previous
        action = state.action
        if ACTION_KEY in observation.past:
            done, known = observation.past[ACTION_KEY].at(-1)
            action = torch.where(known[:, None], done.to(action), action)
        values, seen = self._observation(observation)
        return self.step(replace(state, action=action), self.encoder(values), seen, observation.first, noise)[0]

    def _observation(self, observation: Context) -> tuple[dict[str, Tensor], Tensor]:
        """Values (B, ...) by stream with zeros where they are invalid, and (B,) whether all of them are valid."""
        values, seen = {}, torch.ones_like(observation.first)
        for key in self.encoder.keys:
            value, valid = observation.now[key].at(0)
            values[key] = value.masked_fill(~valid.view(-1, *[1] * (value.dim() - 1)), 0)
            seen = seen & valid
        return values, seen

    def step(
        self, state: RSSMState, embedding: Tensor, seen: Tensor | None, first: Tensor, noise: Tensor | None = None
    ) -> tuple[RSSMState, Tensor]:
        """Return the state after one more observation, and the posterior's raw parameters (B, R).

        Args:
            state: of the step before, whose action is the one that was done in between.
            embedding: (B, E) the encoded observation.
            seen: (B,) bool whether there is one; None says that there is one in all rows.
            first: (B,) bool whether an episode begins, so that the state before is forgotten.
            noise: (B, S); None takes the most likely stochastic state.
        """
        state = state.reset(first)
        deterministic = self.core(state.deterministic, state.stochastic, state.action)
        posterior = self.posterior(torch.cat([deterministic, embedding.to(deterministic)], dim=-1))
        raw = posterior if seen is None else torch.where(seen[:, None], posterior, self.prior(deterministic))
        return RSSMState(deterministic, self._draw(raw, noise), state.action), posterior

    def _draw(self, raw: Tensor, noise: Tensor | None) -> Tensor:
        return self.latent.mode(raw) if noise is None else self.latent.sample(raw, noise)

    def observe(
        self,
        values: Mapping[str, Tensor],
        seen: Tensor,
        actions: Tensor,
        first: Tensor,
        noise: Tensor | None = None,
        state: RSSMState | None = None,
    ) -> Observed:
        """Return what whole sequences lead to; it is `step` after `step`.

        Args:
            values: (B, T, *F) by stream, finite also where they mean nothing.
            seen: (B, T) bool whether everything that is read was seen; elsewhere the prior takes the posterior's place.
            actions: (B, T, A) the action that was done before each step.
            first: (B, T) bool whether an episode begins with the step.
            noise: (B, T, S); None takes the most likely stochastic states.
            state: before the first step; None for rows that have seen nothing.
        """
        state = self.initial_state(len(seen)) if state is None else state
        embeddings, has_gaps = self.encoder(values), not bool(seen.all())
        states, posteriors = [], []
        for index in range(seen.shape[1]):
            drawn = None if noise is None else noise[:, index]
            state = replace(state, action=actions[:, index].to(state.action))
            there = seen[:, index] if has_gaps else None
            state, posterior = self.step(state, embeddings[:, index], there, first[:, index], drawn)
            states.append(state)
            posteriors.append(posterior)
        whole = map_tensors(lambda *parts: torch.stack(parts, dim=1), *states)
        return Observed(whole, self.prior(whole.deterministic), torch.stack(posteriors, dim=1))

    def advance(self, state: RSSMState, action: Tensor, noise: Tensor | None = None) -> RSSMState:
        """Return the state that is imagined after one action (..., A), without an observation.

        Args:
            state: before the action.
            action: that is done.
            noise: (..., S); None takes the most likely stochastic state.
        """
        deterministic = self.core(state.deterministic, state.stochastic, action)
        return RSSMState(deterministic, self._draw(self.prior(deterministic), noise), action.to(state.action))

    def imagine(self, state: RSSMState, actions: Tensor, noise: Tensor | None = None) -> RSSMState:
        """Return the states (B, N, H, ...) after each of H actions (B, N, H, A), the start left out.

        Args:
            state: (B, ...) to begin with.
            actions: of N candidates for each row; (B, H, A) is one candidate, and gives states (B, H, ...).
            noise: (B, N, H, S), or (B, H, S); None takes the most likely stochastic states.

        Raises:
            ValueError: if the actions do not fit the model or the state, or are none, or the state is none.
        """
        check_state(state)
        if isinstance(actions, Tensor) and actions.dim() == 3:
            one = self.imagine(state, actions[:, None], None if noise is None else noise[:, None])
            return map_tensors(lambda x: x[:, 0], one)
        check_imagined(actions, state.batch_size, self.action_dim)
        count = actions.shape[1]
        state = map_tensors(lambda x: x[:, None].expand(-1, count, *x.shape[1:]), state)
        states = []
        for index in range(actions.shape[2]):
            state = self.advance(state, actions[:, :, index], None if noise is None else noise[:, :, index])
            states.append(state)
        return map_tensors(lambda *parts: torch.stack(parts, dim=2), *states)

    def features(self, state: RSSMState) -> Tensor:
        """Return the deterministic and the stochastic part of states as vectors (..., D + V)."""
        return state.features

    def decode(self, states: RSSMState) -> dict[str, Tensor]:
        """Return the pictures (..., 3, 64, 64), from 0 to 255, that would be seen in states, by camera."""
        decoded = self.decoder(states.features)
        return {camera: WHITE * decoded[camera] for camera in self.decoder.cameras}

    def predict_rewards(
        self, state: RSSMState, actions: Tensor | None = None, states: RSSMState | None = None
    ) -> Tensor:
        """Return the rewards (B, N, H) of actions that led from a state to the imagined ones (B, N, H, ...).

        A reward follows from the state that an action led to, so that `predict_rewards(states)` says the same.

        Args:
            state: before the actions, or the imagined states themselves where nothing else is given.
            actions: that were done; they change nothing.
            states: the imagined ones.

        Raises:
            ValueError: if what is given is no state.
        """
        check_state(state if states is None else states)
        return self.reward_head((state if states is None else states).features)

    def step_survival(self, features: Tensor) -> Tensor:
        """Return how much what comes behind states counts (...): the discount, times the chance that they go on.

        Args:
            features: (..., D + V) of the states.
        """
        if self.continue_head is None:
            return torch.full(features.shape[:-1], self.discount, device=features.device)
        return self.discount * self.continue_head(features)

    def survival(self, features: Tensor) -> Tensor:
        """Return the product (..., H) of `step_survival` along H, from features (..., H, D + V)."""
        return self.step_survival(features).cumprod(dim=-1)

    def predict_return(
        self, state: RSSMState, actions: Tensor, value: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return the discounted return (B, N) of actions (B, N, H, A), and of what follows them.

        Args:
            state: before the actions.
            actions: of N candidates for each row.
            value: what the return after a state is, from its features (..., D + V); None counts nothing.
        """
        features = self.imagine(state, actions).features
        survival = self.survival(features)
        weight = torch.cat([torch.ones_like(survival[..., :1]), survival[..., :-1]], dim=-1)
        total = (weight * self.reward_head(features)).sum(dim=-1)
        return total if value is None else total + survival[..., -1] * value(features[..., -1, :])
