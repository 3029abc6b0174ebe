"""A policy that acts by a world model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.vla.dreamer import Dreamer, DreamerState
from tempovla.model.vla.predictions import prediction_windows
from tempovla.model.vla.saved_policy import SavedPolicy
from tempovla.model.vla.tdmpc import TDMPC, TDMPCState
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.timeline import ActionChunk, Context, LossTerms, PlanTold, Prediction, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY

AGENTS: dict[str, type[TDMPC] | type[Dreamer]] = {"tdmpc": TDMPC, "dreamer": Dreamer}
"""By `algorithm`, what learns and decides."""
AgentState = TDMPCState | DreamerState
"""What an agent remembers."""


@contextmanager
def _as_in_control(module: nn.Module) -> Iterator[None]:
    """Turn dropout off for a decision, in the middle of a training."""
    learns = module.training
    if learns:
        module.eval()
    try:
        yield
    finally:
        if learns:
            module.train()


class WorldModelPolicy(SavedPolicy):
    """The policy; its agent is what learns and decides.

    Args:
        config: what it sees and does, how it learns, and how it searches.

    Attributes:
        agent: learns and decides; its `world` is the world model.

    Raises:
        ValueError: if it sees nothing.
    """

    kind = "world-model"
    config_class = WorldModelConfig
    config: WorldModelConfig

    def __init__(self, config: WorldModelConfig | None = None, **fields: Any) -> None:
        super().__init__()
        self.config = replace(config or WorldModelConfig(), **fields)
        self.config.check_sees()
        self.agent: Any = AGENTS[self.config.algorithm](self.config)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read."""
        return (*(() if self.config.robot_state_dim is None else (self.config.state_key,)), *self.config.cameras)

    @property
    def frame_stride(self) -> int | None:
        """Control steps between two observations; None if it may look at any step."""
        return self.config.action_repeat if self.config.action_repeat > 1 else None

    def windows(self) -> tuple[Window, ...]:
        """Return observations now, and the action that is chosen; for Dreamer also the last one that was done."""
        actions = Window(ACTION_KEY, tuple(range(self.agent.first_action, self.config.action_repeat)))
        return (*(Window(key, (0,)) for key in self.observation_keys()), actions)

    def training_windows(self) -> tuple[Window, ...]:
        """Return what the agent learns from."""
        return self.agent.training_windows(self.observation_keys())

    def window_ends(self, length: int) -> list[int]:
        """Return every step at which an action began."""
        return list(range(0, length, self.config.action_repeat))

    def initial_state(self, batch_size: int) -> AgentState:
        """Return the state of rows that have seen nothing."""
        return self.agent.initial_state(batch_size, self.device)

    def with_seeds(self, state: AgentState, seed: Tensor) -> AgentState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(state, noise=state.noise.with_seeds(seed))

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the losses of the agent."""
        return self.agent(sample)

    def act(self, context: Context, state: AgentState) -> tuple[ActionChunk, AgentState]:
        """Return the action that the agent takes for best, once for each step of `action_repeat`: (B, R, A)."""
        with _as_in_control(self):
            action, state = self.agent.act(context, state)
        return self.repeated(action), state

    @property
    def step_discount(self) -> float:
        """The discount of rewards from one decision to the next."""
        return self.config.step_discount

    def tell(self, context: Context, state: AgentState) -> tuple[ActionChunk, AgentState, PlanTold]:
        """Return what `act` returns, and the plan behind it, of at least `TOLD_DECISIONS` decisions.

        Behind the `planner.horizon` actions that a search found, the plan goes on as the agent's own policy does in
        imagination; without a search, all of it does.
        """
        with _as_in_control(self):
            action, state, told = self.agent.tell(context, state)
        return self.repeated(action), state, told

    def explore(self, context: Context, state: AgentState) -> tuple[ActionChunk, AgentState]:
        """Return an action (B, R, A) from which more is learned."""
        with _as_in_control(self):
            action, state = self.agent.explore(context, state)
        return self.repeated(action), state

    @property
    def prediction_stride(self) -> int:
        """Number of control steps for which each action is done."""
        return self.config.action_repeat

    def prediction_windows(self, horizon: int) -> tuple[Window, ...]:
        """Return the windows of a sample whose last target lies `horizon` control steps ahead."""
        context = self.agent.prediction_context
        return prediction_windows(self.observation_keys(), horizon, self.prediction_stride, context, rewards=True)

    def predict(self, sample: TimelineSample) -> dict[str, Prediction]:
        """Return what the agent's world model imagines, by stream: observations or the latent state, and rewards."""
        return self.agent.predict(sample)

    def repeated(self, action: Tensor) -> ActionChunk:
        """Return an action (B, A) as a chunk of as many steps as it is done for."""
        repeat = self.config.action_repeat
        return ActionChunk.of(action[:, None].expand(-1, repeat, -1), range(repeat))

    def after_step(self, train_step: int) -> None:
        """Move what follows the training."""
        self.agent.after_step(train_step)
