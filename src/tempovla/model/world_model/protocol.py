"""The protocol of world models that can be planned with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from tempovla.timeline import Context

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


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


@runtime_checkable
class PreparedWorldModel(Protocol[S_contra]):
    """A world model that does once what all rounds of a search share."""

    def returns_from(self, state: S_contra) -> Callable[[Tensor], Tensor]:
        """Return `predict_return` from a state as a function of actions (B, N, H, A) alone, with the weights of now."""


@runtime_checkable
class ProposingWorldModel(Protocol[S_contra]):
    """A world model with a policy of its own, which proposes candidates."""

    def policy_rollouts(self, state: S_contra, noise: Tensor) -> Tensor:
        """Return actions (B, P, H, A) that the policy takes in imagination, from normal noise (B, P, H, A)."""


@runtime_checkable
class FeaturedWorldModel(Protocol[S_contra]):
    """A world model whose states are no tensors, but have a vector each."""

    def features(self, state: S_contra) -> Tensor:
        """Return the vectors (..., D) of states."""


@runtime_checkable
class DecodingWorldModel(Protocol[S_contra]):
    """A world model that tells what would be seen."""

    def decode(self, states: S_contra) -> Mapping[str, Tensor]:
        """Return what would be seen in states (B, N, H, ...), by key: pictures (B, N, H, 3, S, S) from 0 to 255."""


@runtime_checkable
class InvertingWorldModel(Protocol[S_contra]):
    """A world model that tells which action leads to a goal."""

    def inverse_action(self, state: S_contra, goal: S_contra, steps_left: int) -> Tensor:
        """Return the actions (B, A) with which rows begin on the way to a goal that is so many steps away.

        Raises:
            ValueError: if it did not learn to.
        """
