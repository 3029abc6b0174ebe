"""A world model's policy that goes where it is told instead of where the rewards are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tempovla.model.layers.row_state import zero_rows
from tempovla.model.vla.world_model_policy import AgentState, WorldModelPolicy
from tempovla.model.world_model.checks import of_a_goal
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.inverse_planner import InverseDynamicsPlanner
from tempovla.model.world_model.planning.scores import Costs, Goal, latent_vector, policy_score, weighted
from tempovla.model.world_model.planning.search import Score, search, shifted
from tempovla.timeline import ActionChunk, Context, LossTerms, TimelineSample, Window


class GoalPolicy:
    """A `Policy` that plans towards a goal with the world model of another one, which is not changed.

    Args:
        policy: whose world model it is, in evaluation mode.
        goal: what should be seen, as a `Context` prepared as in training, of one row for all or of as many as act. A
            model that remembers, such as Dreamer's, takes it for the first observation of an episode. A `Goal`, such as
            that of `goal_of_steps`, says what it remembers there.
        planner: how actions are searched for; None takes the policy's settings.
        costs: what counts; by default the distance from the goal in the latent space.
        by_inverse_dynamics: whether the model's inverse dynamics tell the actions, towards a goal as many steps away
            as the planner's horizon; nothing is searched for then.

    Raises:
        ValueError: if the goal lacks what the model reads, the model did not learn inverse dynamics, or nothing counts
            in the plan, or what the model cannot tell.
    """

    def __init__(
        self,
        policy: WorldModelPolicy,
        goal: Context | Goal,
        planner: PlannerConfig | None = None,
        costs: Costs | None = None,
        *,
        by_inverse_dynamics: bool = False,
    ) -> None:
        self.policy, self.costs = policy, costs or Costs()
        self.planner = planner or policy.config.planner
        self.by_inverse_dynamics = by_inverse_dynamics
        self._world: Any = policy.agent.planning_world
        with torch.no_grad():
            self._goal = goal if isinstance(goal, Goal) else Goal.of(self._world, goal, goal.batch_size)
            self._check_plans()

    def _check_plans(self) -> None:
        """Score an action where the goal is, so that what cannot be planned with is refused before anything is done."""
        state = self._goal.state
        if self.by_inverse_dynamics:
            if self.policy.agent.remembers:
                raise ValueError(
                    f"a model of algorithm {self.policy.config.algorithm!r} learns no inverse dynamics; plan towards "
                    "the goal by a search, or train one of algorithm 'tdmpc'"
                )
            self._world.inverse_action(state, state, 1)
        else:
            rows = len(latent_vector(self._world, state))
            actions = torch.zeros(rows, 1, 1, self.policy.config.action_dim, device=self.device)
            self.costs.score(self._world, state, self._goal)(actions)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.policy.device

    @property
    def frame_stride(self) -> int | None:
        """Control steps between two observations, as of the policy."""
        return self.policy.frame_stride

    def windows(self) -> tuple[Window, ...]:
        """Return the windows of the policy."""
        return self.policy.windows()

    def initial_state(self, batch_size: int) -> AgentState:
        """Return the state of rows that have seen and planned nothing."""
        shape = (batch_size, self.planner.horizon, self.policy.config.action_dim)
        return replace(self.policy.initial_state(batch_size), mean=torch.zeros(shape, device=self.device))

    def with_seeds(self, state: AgentState, seed: Tensor) -> AgentState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return self.policy.with_seeds(state, seed)

    @torch.no_grad()
    def act(self, context: Context, state: AgentState) -> tuple[ActionChunk, AgentState]:
        """Return the first action of a plan towards the goal, for each step that it is done for: (B, R, A)."""
        agent = self.policy.agent
        seed, now, state = agent.perceive(context, state)
        goal = Goal(Goal.of(self._world, self._goal.state, context.batch_size).state, self._goal.seen)
        if self.by_inverse_dynamics:
            plan = InverseDynamicsPlanner(self._world).plan(now, goal.state, self.planner.horizon)
        else:
            start = zero_rows(shifted(state.mean), context.first)
            plan = search(self.planner, self._score(now, goal), start, seed)
        action = plan.actions[:, 0]
        return self.policy.repeated(action), agent.decided(action, replace(state, mean=plan.mean))

    def _score(self, now: Any, goal: Goal) -> Score:
        """What counts in a plan. Where rewards do, so does how far it is from the policy, as `policy_weight` says."""
        score = self.costs.score(self._world, now, goal)
        cost = self.policy.agent.policy_cost(self.planner) if self.costs.reward_weight else None
        if cost is None:
            return score
        return weighted([(1.0, score), (self.costs.reward_weight or 0.0, policy_score(self._world, now, cost))])

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the losses of the policy, which learns as before."""
        return self.policy(sample)

    def after_step(self, train_step: int) -> None:
        """Move what follows the training."""
        self.policy.after_step(train_step)


@torch.no_grad()
def goal_of_steps(policy: WorldModelPolicy, steps: Iterable[Context]) -> Goal:
    """Return the goal of seeing what the last of some steps shows.

    Args:
        policy: whose world model sees the steps, in evaluation mode.
        steps: of an episode, one decision after the other, prepared as in training. A model that remembers nothing
            needs the last one alone.

    Raises:
        ValueError: if there is none, or one lacks what the model reads.
    """
    world, state, seen = policy.agent.planning_world, None, None
    for seen in steps:
        with of_a_goal():
            state = world.encode(seen, state)
    if seen is None:
        raise ValueError("no steps show no goal; give one at least")
    return Goal(state, seen)
