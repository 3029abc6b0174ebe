"""Dreamer's world model as one that can be planned with towards a goal: the recurrent model, and the critic."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tempovla.model.world_model.rssm import RSSM
from tempovla.model.world_model.rssm_state import RSSMState
from tempovla.timeline import Context


class DreamerWorld:
    """A `WorldModel` with `features` and `decode`, which share the weights of an agent.

    Args:
        rssm: the recurrent model.
        critic: from the features (..., D) of a state to the return after it (...).
    """

    def __init__(self, rssm: RSSM, critic: Callable[[Tensor], Tensor]) -> None:
        self.rssm, self.critic = rssm, critic

    @property
    def action_dim(self) -> int:
        """Dimensions A of an action."""
        return self.rssm.action_dim

    def encode(self, observation: Context, previous: RSSMState | None = None) -> RSSMState:
        """Return the most likely state of B rows after what is seen now; see `RSSM.encode`."""
        return self.rssm.encode(observation, previous)

    def imagine(self, state: RSSMState, actions: Tensor) -> RSSMState:
        """Return the states (B, N, H, ...) after each of H actions (B, N, H, A)."""
        return self.rssm.imagine(state, actions)

    def predict_rewards(self, state: RSSMState, actions: Tensor, states: RSSMState) -> Tensor:
        """Return the rewards (B, N, H) of actions that led from a state to the imagined ones."""
        return self.rssm.predict_rewards(state, actions, states)

    def predict_return(self, state: RSSMState, actions: Tensor) -> Tensor:
        """Return the discounted return (B, N) of actions (B, N, H, A), and the critic's value of what follows them."""
        return self.rssm.predict_return(state, actions, self.critic)

    def features(self, state: RSSMState) -> Tensor:
        """Return the deterministic and the stochastic part of states as vectors (..., D + V)."""
        return self.rssm.features(state)

    def decode(self, states: RSSMState) -> dict[str, Tensor]:
        """Return the pictures (..., 3, 64, 64), from 0 to 255, that would be seen in states, by camera."""
        return self.rssm.decode(states)
