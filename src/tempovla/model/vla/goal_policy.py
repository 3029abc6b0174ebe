"""A world model's policy that goes where it is told instead of where the rewards are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tempovla.model.layers.row_state import zero_rows
from tempovla.model.vla.tdmpc import TDMPCState
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.planning.config import PlannerConfig
from tempovla.model.world_model.planning.inverse_planner import InverseDynamicsPlanner
from tempovla.model.world_model.planning.scores import Costs, Goal
from tempovla.model.world_model.planning.search import search, shifted
from tempovla.timeline import ActionChunk, Context, LossTerms, TimelineSample, Window


class GoalPolicy:
    """A `Policy` that plans towards a goal with the world model of another one, which is not changed.

    Args:
        policy: whose world model it is, in evaluation mode.
        goal: what should be seen, as a `Context` prepared as in training, of one row for all or of as many as act.
        planner: how actions are searched for; None takes the policy's settings.
        costs: what counts; by default the distance from the goal in the latent space.
        by_inverse_dynamics: whether the model's inverse dynamics tell the actions, towards a goal as many steps away
            as the planner's horizon; nothing is searched for then.

    Raises:
        ValueError: if the goal lacks what the model reads, or the model did not learn inverse dynamics.
    """

    def __init__(
        self,
        policy: WorldModelPolicy,
        goal: Context,
        planner: PlannerConfig | None = None,
        costs: Costs | None = None,
        *,
        by_inverse_dynamics: bool = False,
    ) -> None:
        self.policy, self.costs = policy, costs or Costs()
        self.planner = planner or policy.config.planner
        self.by_inverse_dynamics = by_inverse_dynamics
        self._world = policy.agent.world
        with torch.no_grad():
            self._goal = Goal.of(self._world, goal, goal.batch_size)
            if by_inverse_dynamics:
                self._world.inverse_action(self._goal.state, self._goal.state, 1)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.policy.device

    def windows(self) -> tuple[Window, ...]:
        """Return the windows of the policy."""
        return self.policy.windows()

    def initial_state(self, batch_size: int) -> TDMPCState:
        """Return the state of rows that have planned nothing."""
        noise = self.policy.initial_state(batch_size).noise
        shape = (batch_size, self.planner.horizon, self.policy.config.action_dim)
        return TDMPCState(noise, torch.zeros(shape, device=self.device))

    def with_seeds(self, state: TDMPCState, seed: Tensor) -> TDMPCState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(state, noise=state.noise.with_seeds(seed))

    @torch.no_grad()
    def act(self, context: Context, state: TDMPCState) -> tuple[ActionChunk, TDMPCState]:
        """Return the first action of a plan towards the goal, for each step that it is done for: (B, R, A)."""
        seed, noise = state.noise.decide(context.first)
        z = self._world.encode(context)
        goal = Goal(Goal.of(self._world, self._goal.state, len(z)).state, self._goal.seen)
        if self.by_inverse_dynamics:
            plan = InverseDynamicsPlanner(self._world).plan(z, goal.state, self.planner.horizon)
        else:
            start = zero_rows(shifted(state.mean), context.first)
            plan = search(self.planner, self.costs.score(self._world, z, goal), start, seed)
        return self.policy.repeated(plan.actions[:, 0]), TDMPCState(noise, plan.mean)

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the losses of the policy, which learns as before."""
        return self.policy(sample)

    def after_step(self, train_step: int) -> None:
        """Move what follows the training."""
        self.policy.after_step(train_step)
