"""The recurrent state-space model in the form that the laws of memories take."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.rssm import RSSM
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.timeline.keys import STATE_KEY

STATE_DIM, ACTION_DIM = 4, 2


class RSSMMemory:
    """Filters sequences (B, T, 6) of states and the actions before them; what it knows is its output."""

    def __init__(self, latent: str) -> None:
        sizes = {"variables": 3, "classes": 4, "num_layers": 1, "bins": 9}
        self.encoder = RSSM(8, ACTION_DIM, 8, robot_state_dim=STATE_DIM, cameras=(), latent=latent, **sizes).eval()

    def initial_state(self, batch: int) -> RSSMState:
        return self.encoder.initial_state(batch)

    def forward(self, x: Tensor, state: RSSMState) -> tuple[Tensor, RSSMState]:
        seen = torch.ones(x.shape[:2], dtype=torch.bool)
        actions = x[..., STATE_DIM:]
        observed = self.encoder.observe({STATE_KEY: x[..., :STATE_DIM]}, seen, actions, ~seen, state=state)
        return observed.states.features, map_tensors(lambda each: each[:, -1], observed.states)

    def step(self, x: Tensor, state: RSSMState) -> tuple[Tensor, RSSMState]:
        embedding = self.encoder.encoder({STATE_KEY: x[:, :STATE_DIM]})
        state = replace(state, action=x[:, STATE_DIM:].to(state.action))
        never = torch.zeros(len(x), dtype=torch.bool)
        state, _ = self.encoder.step(state, embedding, None, never)
        return state.features, state
