"""A policy that acts by a world model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tempovla.model.vla.dreamer import Dreamer, DreamerState
from tempovla.model.vla.saved_policy import SavedPolicy
from tempovla.model.vla.tdmpc import TDMPC, TDMPCState
from tempovla.model.vla.world_model_config import WorldModelConfig
from tempovla.timeline import ActionChunk, Context, LossTerms, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

AGENTS: dict[str, type[TDMPC] | type[Dreamer]] = {"tdmpc": TDMPC, "dreamer": Dreamer}
"""By `algorithm`, what learns and decides."""
AgentState = TDMPCState | DreamerState
"""What an agent remembers."""


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
        return (*(() if self.config.robot_state_dim is None else (STATE_KEY,)), *self.config.cameras)

    def windows(self) -> tuple[Window, ...]:
        """Return observations now, and the action that is chosen; for Dreamer also the last one that was done."""
        seen = (Window(key, (0,)) for key in self.observation_keys())
        return (*seen, Window(ACTION_KEY, self.agent.action_offsets))

    def training_windows(self) -> tuple[Window, ...]:
        """Return what the agent learns from."""
        return self.agent.training_windows(self.observation_keys())

    def window_ends(self, length: int) -> list[int]:
        """Return every step."""
        return list(range(length))

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
        """Return the action (B, 1, A) that the agent takes for best."""
        return self.agent.act(context, state)

    def explore(self, context: Context, state: AgentState) -> tuple[ActionChunk, AgentState]:
        """Return an action (B, 1, A) from which more is learned; dropout is off meanwhile, as in control."""
        learns = self.training
        self.eval()
        try:
            return self.agent.explore(context, state)
        finally:
            self.train(learns)

    def after_step(self, train_step: int) -> None:
        """Move what follows the training."""
        self.agent.after_step(train_step)
