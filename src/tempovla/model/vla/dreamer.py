"""An agent that learns a recurrent world model, and an actor and a critic in what the model imagines (DreamerV3).

Hafner et al.: Mastering diverse domains through world models, 2023. The actor learns by the likelihood ratio
(REINFORCE), as theirs does for continuous actions, too: it needs no gradient through the imagined steps, so that these
cost a third, and errors in the model's derivatives do not reach the actor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import map_tensors, zero_rows
from tempovla.model.vla.dreamer_world import DreamerWorld
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.predictions import prediction_of, reward_prediction
from tempovla.model.vla.world_model_config import TOLD_DECISIONS, WorldModelConfig
from tempovla.model.world_model.bounded_actor import BoundedActor
from tempovla.model.world_model.ema_target import EmaTarget
from tempovla.model.world_model.lambda_return import lambda_return
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.search import Plan, search, shifted
from tempovla.model.world_model.predictors import NumberPredictor
from tempovla.model.world_model.repeats import repeated_actions
from tempovla.model.world_model.rssm import RSSM
from tempovla.model.world_model.rssm_loss import RSSMWeights, Sequences, rssm_terms
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.model.world_model.running_scale import RunningScale
from tempovla.timeline import Context, LossTerm, LossTerms, Metric, PlanTold, Prediction, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, TERMINATED_KEY
from tempovla.timeline.noise import mix_seed, row_normal, row_uniform
from tempovla.timeline.track import Track, concatenate

POSTERIORS, PRIORS, ACTIONS = range(3)
"""Streams of random numbers of a training sample."""
MOST_CONTEXT = 32
"""Most observations before the present one that the model sees before its predictions are measured."""
FILTER, PROPOSALS, EXPLORATION = 100, 101, 102
"""The same of a decision, beside those of the search."""


@dataclass(frozen=True)
class DreamerState:
    """The source of the noise, what the world model knows, and where the last search ended (B, H, A)."""

    noise: NoiseState
    world: RSSMState
    mean: Tensor


@dataclass(frozen=True)
class Imagined:
    """What the actor does in imagination.

    Attributes:
        features: (N, H + 1, D) of the states, the first one included.
        actions: (N, H, A).
    """

    features: Tensor
    actions: Tensor


class Dreamer(nn.Module):
    """The agent of a `WorldModelPolicy` whose `algorithm` is `dreamer`.

    Args:
        config: of the policy.

    Attributes:
        world: the world model.
        actor: from the features of a state to actions.
        critic: from the features of a state to the return after it.
    """

    first_action = -1
    """Offset of the first action that it reads or chooses: the last one tells how the world went on."""
    remembers = True
    """Whether what it knows depends on earlier observations."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config, self.learning = config, config.dreamer
        rssm, hidden, layers = config.dreamer.rssm, config.dreamer.hidden_dim, config.dreamer.num_layers
        self.world = RSSM(
            action_dim=config.action_dim,
            robot_state_dim=config.robot_state_dim,
            cameras=config.cameras,
            state_key=config.state_key,
            discount=config.step_discount,
            **vars(rssm),
        )
        stds = (config.dreamer.min_std, config.dreamer.max_std)
        self.actor = BoundedActor(self.world.feature_dim, config.action_dim, hidden, layers, *stds)
        self.critic = NumberPredictor(
            self.world.feature_dim, hidden, layers, bins=rssm.bins, symlog_range=rssm.symlog_range
        )
        self.slow_critic = EmaTarget(self.critic)
        self.scale = RunningScale(config.dreamer.scale_tau, raises="mean")

    def training_windows(self, observations: Sequence[str]) -> tuple[Window, ...]:
        """Return what was seen from now on, what was done, and what came of it.

        Args:
            observations: keys of the streams that are read.
        """
        repeat = self.config.action_repeat
        end = self.learning.sequence_length * repeat
        steps = tuple(range(end))
        outcomes = (REWARD_KEY, *((TERMINATED_KEY,) if self.world.continue_head is not None else ()))
        seen = tuple(Window(key, (*steps[::repeat], end)) for key in observations)
        return (*seen, *(Window(key, steps) for key in (ACTION_KEY, *outcomes)))

    @property
    def sequence_length(self) -> int:
        """Least number of control steps of a training sample, in an episode that has as many: half of a whole one.

        So ends are learned, too. If all had to be there, only one sample of an episode would hold its last step.
        """
        return (self.learning.sequence_length * self.config.action_repeat + 1) // 2

    @property
    def prediction_context(self) -> int:
        """Observations before the present one of a sample of `predict`, at most as many as training saw."""
        return min(self.learning.sequence_length, MOST_CONTEXT)

    def initial_state(self, batch_size: int, device: torch.device) -> DreamerState:
        """Return the state of rows that have seen nothing."""
        mean = torch.zeros(batch_size, self.config.planner.horizon, self.config.action_dim, device=device)
        return DreamerState(NoiseState.initial(batch_size, device), self.world.initial_state(batch_size), mean)

    def act(self, context: Context, state: DreamerState) -> tuple[Tensor, DreamerState]:
        """Return the actor's most likely action (B, A), or the first one of a plan."""
        actions, _, state = self._act(context, state)
        return actions[:, 0], state

    def tell(self, context: Context, state: DreamerState) -> tuple[Tensor, DreamerState, PlanTold]:
        """Return what `act` does, and the plan: what the search found, and then what the actor does in imagination."""
        begun, now, state = self._act(context, state)
        actions = self._continued(now, begun)
        rewards = self.world.predict_rewards(self.world.imagine(now, actions))
        return begun[:, 0], state, PlanTold(actions, rewards, self.critic(now.features))

    def _act(self, context: Context, state: DreamerState) -> tuple[Tensor, RSSMState, DreamerState]:
        """Actions (B, H, A), those of a plan or the actor's one, what the model knows now, and the next state."""
        seed, now, state = self.perceive(context, state)
        if self.config.searches:
            plan = self._plan(seed, context.first, state)
            return plan.actions, now, self.decided(plan.actions[:, 0], replace(state, mean=plan.mean))
        action = self.actor(now.features).mean
        return action[:, None], now, self.decided(action, state)

    def _continued(self, state: RSSMState, begun: Tensor) -> Tensor:
        """Actions (B, H, A) from states (B, ...) on: given ones (B, h, A), and then the actor's most likely ones."""
        actions = list(begun.unbind(dim=1))
        for index in range(max(TOLD_DECISIONS, len(actions)) - 1):
            state = self.world.advance(state, actions[index])
            if index + 1 == len(actions):
                actions.append(self.actor(state.features).mean)
        return torch.stack(actions, dim=1)

    def explore(self, context: Context, state: DreamerState) -> tuple[Tensor, DreamerState]:
        """Return an action (B, A) that the actor draws, or a planned one with noise as wide as the search still was."""
        seed, _, state = self.perceive(context, state)
        seeds, shape = mix_seed(seed, EXPLORATION), (self.config.action_dim,)
        if self.config.searches:
            plan = self._plan(seed, context.first, state)
            noise = row_normal(seeds, shape)
            tried = (plan.actions[:, 0] + plan.std[:, 0] * noise).clamp(-1.0, 1.0)
            return tried, self.decided(tried, replace(state, mean=plan.mean))
        action = self.actor(state.world.features).sample(row_uniform(seeds, shape))
        return action, self.decided(action, state)

    def policy_cost(self, planner: PlannerConfig) -> None:
        """Return None: no plan of Dreamer's is kept near to its actor, and `policy_weight` is refused."""

    @property
    def planning_world(self) -> DreamerWorld:
        """The world model as one to plan with, whose returns count what the critic expects of their end."""
        return DreamerWorld(self.world, self.critic)

    def perceive(self, context: Context, state: DreamerState) -> tuple[Tensor, RSSMState, DreamerState]:
        """Return the seeds (B,) of this decision, what the model knows after what is seen now, and the next state."""
        seed, noise = state.noise.decide(context.first)
        world = self.world.encode(context, state.world, self.world.latent.noise(mix_seed(seed, FILTER)))
        return seed, world, DreamerState(noise, world, state.mean)

    def decided(self, action: Tensor, state: DreamerState) -> DreamerState:
        """Return the state that remembers an action (B, A)."""
        return replace(state, world=replace(state.world, action=action.to(state.world.action)))

    def _plan(self, seed: Tensor, first: Tensor, state: DreamerState) -> Plan:
        """The best actions that a search finds, among them some of the actor's."""
        config, proposals = self.config.planner, None
        if config.num_policy_samples:
            shape = (config.num_policy_samples, config.horizon, self.config.action_dim)
            draws = row_uniform(mix_seed(seed, PROPOSALS), shape)
            start = map_tensors(lambda x: x.repeat_interleave(config.num_policy_samples, dim=0), state.world)
            proposals = self._imagine(start, draws.flatten(0, 1), None).actions.unflatten(0, draws.shape[:2])
        begin = zero_rows(shifted(state.mean), first)
        return search(config, lambda actions: self.predict_return(state.world, actions), begin, seed, proposals)

    def predict_return(self, state: RSSMState, actions: Tensor) -> Tensor:
        """Return the discounted return (B, N) of actions (B, N, H, A), and the critic's value of what follows them."""
        return self.world.predict_return(state, actions, self.critic)

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the losses of the world model over sequences, and of actor and critic over what is imagined."""
        config, world = self.learning, self.world
        sequences = Sequences.of(sample, world.encoder, self.config.action_repeat)
        noise = world.latent.noise(sample.seed, (config.sequence_length + 1,), POSTERIORS)
        actions, first = sequences.actions, sequences.first
        observed = world.observe(sequences.values, sequences.seen, actions, first, noise)
        weights = RSSMWeights(
            config.observation_weight,
            config.reward_weight,
            config.end_weight,
            config.dynamics_weight,
            config.representation_weight,
        )
        chosen = slice(None, None, config.start_stride)
        starts = map_tensors(lambda x: x[:, chosen].detach(), observed.states)
        alive = (sequences.seen & ~sequences.ended)[:, chosen]
        return rssm_terms(world, observed, sequences, weights) | self._behaviour_terms(starts, alive, sample.seed)

    def predict(self, sample: TimelineSample) -> dict[str, Prediction]:
        """Return the observations that are decoded from what is imagined, by stream, and the rewards.

        The model sees the observations up to the present one, and takes the most likely stochastic states.
        """
        world, repeat, future = self.world, self.config.action_repeat, sample.future
        streams = {key: concatenate(sample.context.track(key), future[key]) for key in world.encoder.keys}
        actions, known = repeated_actions(future[ACTION_KEY], repeat)
        done, steps = known.cumprod(dim=1).bool(), actions.shape[1]
        state, seen = self._seen(sample, {key: track.select(track.offset <= 0) for key, track in streams.items()})
        states = world.imagine(state, actions)
        found = {}
        for key, value in world.decoder(states.features).items():
            track, is_picture = streams[key], key in world.encoder.cameras
            scale = 255.0 if is_picture else 1.0
            moments = [(track.value[:, i].float() / scale, track.valid[:, i]) for i in range(-steps - 2, 0)]
            before, now, *later = moments
            now = (now[0], now[1] & seen)
            found[key] = prediction_of("picture" if is_picture else "state", value, later, now, before, done)
        rewards = world.predict_rewards(states)
        return found | reward_prediction(sample, repeat, rewards, seen, done)

    def _seen(self, sample: TimelineSample, streams: Mapping[str, Track]) -> tuple[RSSMState, Tensor]:
        """The state (B, ...) after what was seen until now, and (B,) whether everything is seen now."""
        past, done = repeated_actions(sample.context.past[ACTION_KEY], self.config.action_repeat)
        values = {}
        for key, track in streams.items():
            invalid = ~track.valid.view(*track.valid.shape, *[1] * (track.value.dim() - 2))
            values[key] = track.value.masked_fill(invalid, 0)
        seen = torch.stack([track.valid for track in streams.values()]).all(dim=0)
        first = torch.cat([torch.ones_like(done[:, :1]), ~done], dim=1)
        actions = torch.cat([torch.zeros_like(past[:, :1]), past], dim=1)
        observed = self.world.observe(values, seen, actions, first)
        return map_tensors(lambda x: x[:, -1], observed.states), seen[:, -1]

    @torch.no_grad()
    def _imagine(self, start: RSSMState, draws: Tensor, noise: Tensor | None) -> Imagined:
        """What the actor does from states (N, ...) with uniform draws (N, H, A) and noise (N, H, S) of the model."""
        state, actions, features = start, [], [start.features]
        for index in range(draws.shape[1]):
            action = self.actor(features[-1]).sample(draws[:, index])
            state = self.world.advance(state, action, None if noise is None else noise[:, index])
            actions.append(action)
            features.append(state.features)
        return Imagined(torch.stack(features, dim=1), torch.stack(actions, dim=1))

    def _behaviour_terms(self, starts: RSSMState, alive: Tensor, seed: Tensor) -> dict[str, Any]:
        """The losses of actor and critic from states (B, T, ...) that count where `alive` (B, T), and their figures."""
        config, world, shape = self.learning, self.world, alive.shape
        steps = (shape[1], config.horizon)
        draws = row_uniform(seed, (*steps, self.config.action_dim), stream=ACTIONS).flatten(0, 1)
        noise = world.latent.noise(seed, steps, PRIORS).flatten(0, 1)
        path = self._imagine(map_tensors(lambda x: x.flatten(0, 1), starts), draws, noise)
        before = path.features[:, :-1]
        with torch.no_grad():
            after = path.features[:, 1:]
            discounts, rewards, values = (
                world.step_survival(after),
                world.reward_head(after),
                self.critic(path.features),
            )
            weight = torch.cat([torch.ones_like(discounts[:, :1]), discounts[:, :-1].cumprod(dim=1)], dim=1)
            returns = lambda_return(rewards, discounts, values, config.return_lambda)
            slow = self.slow_critic(before)
            advantage = (returns - values[:, :-1]) / self.scale.divisor
        counts = alive.flatten()[:, None].expand_as(returns)
        if self.training and torch.is_grad_enabled():
            self.scale.add(returns.flatten(), counts.flatten())
        policy = self.actor(before)
        entropy = policy.entropy()
        actor = -weight * (policy.log_prob(path.actions) * advantage + config.entropy_weight * entropy)
        critic, regular = self.critic.losses(before, returns, slow)
        terms: dict[str, LossTerm | Metric] = {
            "actor_loss": LossTerm(_rows(actor, alive), None, alive, 1.0, "mean"),
            "critic_loss": LossTerm(_rows(weight * critic, alive), None, alive, 1.0, "mean"),
            "slow_critic_loss": LossTerm(_rows(weight * regular, alive), None, alive, config.slow_weight, "mean"),
            "imagined_return": Metric(_rows(returns, alive), None, alive),
            "actor_entropy": Metric(_rows(entropy.detach(), alive), None, alive),
            "actor_std": Metric(_rows(policy.std.detach().mean(dim=-1), alive), None, alive),
            "return_scale": Metric(self.scale.divisor.expand(len(alive)), None, alive[:, 0]),
        }
        return terms

    def after_step(self, train_step: int) -> None:
        """Move what follows the training: the slow critic, and the spread of returns."""
        self.slow_critic.update(self.critic, 1.0 - self.learning.slow_tau)
        self.scale.update()


def _rows(loss: Tensor, alive: Tensor) -> Tensor:
    """The mean over imagined steps (B * T, H), as (B, T) with zeros where it does not count."""
    return torch.where(alive, loss.mean(dim=1).unflatten(0, alive.shape), 0.0)
