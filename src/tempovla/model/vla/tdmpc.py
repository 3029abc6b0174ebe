"""An agent that plans with a world model without a decoder, and learns from rewards (TD-MPC2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import zero_rows
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.predictions import prediction_of, reward_prediction
from tempovla.model.vla.world_model_config import TOLD_DECISIONS, WorldModelConfig
from tempovla.model.world_model.dynamics_model import LatentDynamics
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.search import Plan, search, shifted
from tempovla.model.world_model.repeats import beyond_end, repeated_actions, repeated_ends, repeated_rewards
from tempovla.model.world_model.running_scale import RunningScale
from tempovla.timeline import Context, LossTerm, LossTerms, Metric, PlanTold, Prediction, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, TERMINATED_KEY
from tempovla.timeline.noise import mix_seed, row_integers, row_normal

TARGET_NOISE, ACTOR_NOISE, TARGET_PAIR, ACTOR_PAIR = range(4)
"""Streams of random numbers of a training sample."""
PROPOSALS, EXPLORATION = 101, 102
"""The same of a decision, beside those of the search."""


@dataclass(frozen=True)
class TDMPCState:
    """The source of the noise, and where the last search ended (B, H, A)."""

    noise: NoiseState
    mean: Tensor


class TDMPC(nn.Module):
    """The agent of a `WorldModelPolicy`.

    Args:
        config: of the policy.

    Attributes:
        world: the world model.
    """

    first_action = 0
    """Offset of the first action that it reads or chooses."""
    remembers = False
    """Whether what it knows depends on earlier observations."""
    prediction_context = 1
    """Observations before the present one of a sample of `predict`; none of them is read for the prediction."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config, self.learning = config, config.tdmpc
        self.world = LatentDynamics(
            config.tdmpc.dynamics,
            config.action_dim,
            config.robot_state_dim,
            config.cameras,
            config.step_discount,
            config.state_key,
            inverse_steps=max(config.tdmpc.goal_steps, default=0),
        )
        self.scale = RunningScale(config.tdmpc.scale_tau)

    def training_windows(self, observations: Sequence[str]) -> tuple[Window, ...]:
        """Return what was seen from now on, what was done, and what came of it.

        Args:
            observations: keys of the streams that are read.
        """
        repeat, steps = self.config.action_repeat, tuple(range(self.sequence_length))
        outcomes = (REWARD_KEY, *((TERMINATED_KEY,) if self.world.end is not None else ()))
        goals = {repeat * step for step in self.learning.goal_steps}
        offsets = tuple(sorted({*steps[::repeat], self.sequence_length, *goals}))
        seen = tuple(Window(key, offsets) for key in observations)
        return (*seen, Window(ACTION_KEY, steps), *(Window(key, steps) for key in outcomes))

    @property
    def sequence_length(self) -> int:
        """Number of control steps of a training sample, in an episode that has as many."""
        return self.learning.horizon * self.config.action_repeat

    def initial_state(self, batch_size: int, device: torch.device) -> TDMPCState:
        """Return the state of rows that have planned nothing."""
        mean = torch.zeros(batch_size, self.config.planner.horizon, self.config.action_dim, device=device)
        return TDMPCState(NoiseState.initial(batch_size, device), mean)

    def act(self, context: Context, state: TDMPCState) -> tuple[Tensor, TDMPCState]:
        """Return the first action (B, A) of a plan."""
        plan, _, state = self._plan(context, state)
        return plan.actions[:, 0], state

    def tell(self, context: Context, state: TDMPCState) -> tuple[Tensor, TDMPCState, PlanTold]:
        """Return what `act` does, and the plan: what the search found, and then what the policy does in imagination."""
        plan, _, state = self._plan(context, state)
        world, z, action = self.world, self.world.encode(context), plan.actions[:, 0]
        actions = self._continued(z, plan.actions if self.config.searches else plan.actions[:, :1])
        states = world.imagine(z, actions[:, None])
        rewards = world.predict_rewards(z, actions[:, None], states)[:, 0]
        return action, state, PlanTold(actions, rewards, world.value(z, action).mean(dim=0))

    def _continued(self, z: Tensor, begun: Tensor) -> Tensor:
        """Actions (B, H, A) from states (B, D) on: given ones (B, h, A), and then the policy's most likely ones."""
        actions = list(begun.unbind(dim=1))
        for index in range(max(TOLD_DECISIONS, len(actions)) - 1):
            z = self.world.step(z, actions[index])
            if index + 1 == len(actions):
                actions.append(self.world.policy_mean(z))
        return torch.stack(actions, dim=1)

    def explore(self, context: Context, state: TDMPCState) -> tuple[Tensor, TDMPCState]:
        """Return the same with noise as wide as the search still was, so that more is learned.

        The distance from the policy costs nothing here: what the policy does not do must be tried.
        """
        plan, seed, state = self._plan(context, state, explores=True)
        noise = row_normal(mix_seed(seed, EXPLORATION), plan.actions.shape[2:])
        action = (plan.actions[:, 0] + plan.std[:, 0] * noise).clamp(-1.0, 1.0)
        return action, state

    @property
    def planning_world(self) -> LatentDynamics:
        """The world model."""
        return self.world

    def perceive(self, context: Context, state: TDMPCState) -> tuple[Tensor, Tensor, TDMPCState]:
        """Return the seeds (B,) of this decision, the latent state (B, D) of what is seen now, and the next state."""
        seed, noise = state.noise.decide(context.first)
        return seed, self.world.encode(context), replace(state, noise=noise)

    def decided(self, action: Tensor, state: TDMPCState) -> TDMPCState:
        """Return the state after an action (B, A), which it does not remember."""
        return state

    def _plan(self, context: Context, state: TDMPCState, *, explores: bool = False) -> tuple[Plan, Tensor, TDMPCState]:
        """A plan, the seeds (B,) of this decision, and the next state."""
        config = self.config.planner
        seed, z, state = self.perceive(context, state)
        shape = (max(config.num_policy_samples, 1), config.horizon, self.config.action_dim)
        drawn = row_normal(mix_seed(seed, PROPOSALS), shape)
        if not self.config.searches:
            mean, log_std = self.world.policy(z)
            action, std = (each[:, None].expand_as(state.mean) for each in (mean.tanh(), log_std.exp()))
            plan = Plan(action, action, std, torch.zeros_like(seed, dtype=torch.float32))
        else:
            proposals = self.world.policy_rollouts(z, drawn) if config.num_policy_samples else None
            start = zero_rows(shifted(state.mean), context.first)
            score = self.world.returns_from(z, None if explores else self.policy_cost(config))
            plan = search(config, score, start, seed, proposals)
        return plan, seed, replace(state, mean=plan.mean)

    def policy_cost(self, planner: PlannerConfig) -> Tensor | None:
        """Return what a squared distance of 1 from the policy costs a plan, in units of the reward; None if nothing."""
        weight = planner.policy_weight
        return weight * self.scale.value if weight else None

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the losses of the model over `horizon` steps, of its values, and of its policy."""
        config, world, horizon = self.learning, self.world, self.learning.horizon
        future, repeat = sample.future, self.config.action_repeat
        beyond = beyond_end(sample, future[ACTION_KEY].length)
        actions, done = repeated_actions(future[ACTION_KEY], repeat, beyond)
        rewards, rewarded = repeated_rewards(future[REWARD_KEY], repeat, beyond)
        z, seen = world.encode_at(sample.context.now, 0)
        if self.training and torch.is_grad_enabled():
            world.encoder.add_moments(sample.context.now, 0)
        with torch.no_grad():
            later = [world.encode_at(future, repeat * step) for step in range(1, horizon + 1)]
            target = torch.stack([each for each, _ in later], dim=1)
            seen_later = torch.stack([there for _, there in later], dim=1)
        going = seen[:, None] & done.cumprod(dim=1).bool()
        states = [z]
        for action in actions.unbind(dim=1):
            states.append(world.step(states[-1], action))
        path = torch.stack(states, dim=1)
        fade = config.rho ** torch.arange(horizon + 1, device=path.device, dtype=torch.float32)
        ends, told_end = self._ends(sample, beyond)
        apart = (path[:, 1:].float() - target.float()).square().mean(dim=-1)
        ahead = going & seen_later
        rewarded = going & rewarded
        valued = rewarded & told_end & (seen_later | ends)
        told = world.two_hot.loss(
            world.reward(torch.cat([path[:, :-1], actions], dim=-1)), torch.where(rewarded, rewards, 0.0)
        )
        aim = torch.where(valued, self._value_target(sample, rewards, ends, target), 0.0)
        values = world.two_hot.loss(world.value_logits(path[:, :-1], actions), aim[None]).mean(dim=0)
        reached = torch.cat([seen[:, None], ahead], dim=1)
        terms: dict[str, LossTerm | Metric] = {
            "consistency_loss": _mean(apart * fade[:-1], ahead, config.consistency_weight),
            "reward_loss": _mean(told * fade[:-1], rewarded, config.reward_weight),
            "value_loss": _mean(values * fade[:-1], valued, config.value_weight),
            **self._policy_terms(sample, path.detach(), fade, reached),
            "value": Metric(aim, None, valued),
        }
        if config.cloning_weight:
            told = world.policy_mean(path[:, :-1])
            terms["behavior_cloning"] = LossTerm(told, actions, going, config.cloning_weight)
        if world.inverse is not None:
            terms["inverse_dynamics_loss"] = self._inverse_term(sample, z.detach(), actions[:, 0], going[:, 0])
        if world.end is not None:
            logits = world.end(path[:, 1:])[..., 0]
            terms["end_loss"] = LossTerm(logits, ends.to(logits), going & told_end, config.end_weight, "bce")
        return terms

    def predict(self, sample: TimelineSample) -> dict[str, Prediction]:
        """Return as `latent` the imagined states beside the encoded ones of what then came, and the rewards."""
        world, repeat, context = self.world, self.config.action_repeat, sample.context
        actions, known = repeated_actions(sample.future[ACTION_KEY], repeat)
        done = known.cumprod(dim=1).bool()
        (z, seen), past = world.encode_at(context.now, 0), world.encode_at(context.past, -repeat)
        later = [world.encode_at(sample.future, repeat * step) for step in range(1, actions.shape[1] + 1)]
        states = world.imagine(z, actions[:, None])
        rewards = world.predict_rewards(z, actions[:, None], states)[:, 0]
        latent = prediction_of("latent", states[:, 0], later, (z, seen), past, done)
        return {"latent": latent} | reward_prediction(sample, repeat, rewards, seen, done)

    def _inverse_term(self, sample: TimelineSample, z: Tensor, action: Tensor, begun: Tensor) -> LossTerm:
        """The error of actions (B, A) as told from states (B, D) and from those that are seen later."""
        assert self.world.inverse is not None
        steps, repeat = self.learning.goal_steps, self.config.action_repeat
        with torch.no_grad():
            later = [self.world.encode_at(sample.future, repeat * step) for step in steps]
        goals = torch.stack([goal for goal, _ in later], dim=1)
        seen = torch.stack([there for _, there in later], dim=1)
        left = torch.tensor(steps, device=z.device).expand(len(z), -1)
        told = self.world.inverse(z[:, None].expand_as(goals), goals, left)
        valid = begun[:, None] & seen
        return LossTerm(told, action[:, None].expand_as(told), valid, self.learning.inverse_dynamics_weight)

    def _ends(self, sample: TimelineSample, beyond: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, H) bool, where the world ended with an action, and where that is known.

        A model without `predicts_end` takes it that the world never ends.

        Args:
            sample: whose ends these are.
            beyond: (B, H R) bool whether a control step lies beyond the episode's end.
        """
        if self.world.end is None:
            never = beyond.new_zeros(len(beyond), self.learning.horizon)
            return never, ~never
        return repeated_ends(sample.future[TERMINATED_KEY], self.config.action_repeat, beyond)

    @torch.no_grad()
    def _value_target(self, sample: TimelineSample, rewards: Tensor, ends: Tensor, target: Tensor) -> Tensor:
        """Return (B, H): the reward, and what two of the slow values at least expect of the state after it."""
        noise = row_normal(sample.seed, (self.learning.horizon, self.config.action_dim), stream=TARGET_NOISE)
        next_values = self.world.slow_value(target, self.world.policy_sample(target, noise))
        least = self._pair(next_values, sample.seed, TARGET_PAIR).min(dim=0).values
        return rewards + self.config.step_discount * torch.where(ends, 0.0, least)

    def _policy_terms(self, sample: TimelineSample, path: Tensor, fade: Tensor, reached: Tensor) -> dict[str, Any]:
        """The policy's loss over states (B, H + 1, D), and figures about it."""
        config, world, dims = self.learning, self.world, self.config.action_dim
        noise = row_normal(sample.seed, (config.horizon + 1, dims), stream=ACTOR_NOISE)
        mean, log_std = world.policy(path)
        action = (mean + noise * log_std.exp()).tanh()
        values = self._pair(world.value(path, action, detach=True), sample.seed, ACTOR_PAIR).mean(dim=0)
        if self.training and torch.is_grad_enabled():
            self.scale.add(values[:, 0].detach(), reached[:, 0])
        log_share = -0.5 * noise.square() - log_std - 0.5 * torch.log(torch.tensor(2.0 * torch.pi))
        entropy = -log_share.sum(dim=-1) * dims
        loss = -(config.entropy_weight * entropy + values / self.scale.value) * fade
        return {
            "policy_loss": _mean(loss, reached, 1.0),
            "policy_std": Metric(log_std.detach().exp().mean(dim=-1), None, reached),
            "value_scale": Metric(self.scale.value.expand(len(path)), None, reached[:, 0]),
        }

    def _pair(self, values: Tensor, seed: Tensor, stream: int) -> Tensor:
        """Return two of the values (E, B, T), which follow from each row's seed: (2, B, T)."""
        members = len(values)
        if members <= 2:
            return values
        first = row_integers(seed, 0, members, stream=10 + stream)
        second = (first + row_integers(seed, 1, members, stream=20 + stream)) % members
        rows = torch.arange(values.shape[1], device=values.device)
        return torch.stack([values[first, rows], values[second, rows]])

    def after_step(self, train_step: int) -> None:
        """Move what follows the training: the slow values, and the spread of values."""
        self.world.after_step()
        self.scale.update()
        self.world.encoder.update_moments()


def _mean(loss: Tensor, valid: Tensor, weight: float) -> LossTerm:
    """A loss (B, T) that is averaged over its valid steps."""
    return LossTerm(torch.where(valid, loss, 0.0), None, valid, weight, "mean")
