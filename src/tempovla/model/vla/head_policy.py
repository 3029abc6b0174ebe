"""An action head as a policy of its own, so that the laws can be checked on it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tempovla.model.action_head.base import ActionHeadBase
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.observation import observed_vector
from tempovla.timeline import ActionChunk, Context, LossTerm, TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, OBSERVATION_PREFIX

FEATURES_KEY = OBSERVATION_PREFIX + "features"


class HeadPolicy(nn.Module):
    """A policy whose observation is the features that an action head reads.

    Args:
        head: learns and acts.

    Attributes:
        shapes: of one value of each stream, for `laws.random_sample`.
    """

    def __init__(self, head: ActionHeadBase) -> None:
        super().__init__()
        self.head = head
        self.shapes: Mapping[str, tuple[int, ...]] = {FEATURES_KEY: (head.input_dim,), ACTION_KEY: (head.action_dim,)}

    def windows(self) -> tuple[Window, ...]:
        """Return features now, and actions from now on."""
        return Window(FEATURES_KEY, (0,)), Window(ACTION_KEY, tuple(range(self.head.action_horizon)))

    def initial_state(self, batch_size: int) -> NoiseState:
        """Return rows that have drawn nothing yet."""
        return NoiseState.initial(batch_size, torch.device("cpu"))

    def forward(self, sample: TimelineSample) -> dict[str, LossTerm]:
        """Return loss terms of the head."""
        action = sample.future[ACTION_KEY]
        return self.head.loss_terms(self._features(sample.context), action.value, action.valid, sample.seed)

    def act(self, context: Context, state: NoiseState) -> tuple[ActionChunk, NoiseState]:
        """Return a chunk of actions (B, H, A), whose noise follows from the state."""
        seed, state = state.decide(context.first)
        chunk = self.head.sample(self._features(context), seed)
        return ActionChunk.of(chunk, range(self.head.action_horizon)), state

    def after_step(self, train_step: int) -> None:
        """Nothing moves between steps."""

    def _features(self, context: Context) -> Tensor:
        return observed_vector(context.now, FEATURES_KEY)
