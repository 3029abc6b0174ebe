"""The protocol of world models that can be planned with."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from tempovla.timeline import Context

S = TypeVar("S")


@runtime_checkable
class WorldModel(Protocol[S]):
    """A model of how a latent state changes under actions, and of the rewards on the way.

    A state is a value whose tensors have the rows of the batch first. `imagine` takes N candidates for each row at
    once; there is no loop over candidates.
    """

    def encode(self, observation: Context, previous: Any = None) -> S:
        """Return the latent state of B rows.

        Args:
            observation: what is seen now, prepared as in training.
            previous: what the model remembers of the step before; None for models that remember nothing.
        """

    def imagine(self, state: S, actions: Tensor) -> S:
        """Return the states (B, N, H, ...) after each of H actions (B, N, H, A), the start left out."""

    def predict_rewards(self, state: S, actions: Tensor, states: S) -> Tensor:
        """Return the rewards (B, N, H) of actions (B, N, H, A) that led from a state to the imagined ones."""

    def predict_return(self, state: S, actions: Tensor) -> Tensor:
        """Return the discounted return (B, N) of actions (B, N, H, A), and of what follows them."""
