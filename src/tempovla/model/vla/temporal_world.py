"""The temporal predictor of StateVLA as a world model to plan with."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

from tempovla.model.vla.statevla import StateVLA
from tempovla.timeline import Context


class TemporalWorld:
    """A `WorldModel` whose states are StateVLA's z (..., D), which it predicts in strides of k steps.

    k is the policy's `jepa.prediction_horizon`. The model learned no rewards, so plans lead to a goal. Actions are as
    in training: normalised, where the data were.

    Args:
        policy: a trained StateVLA, in evaluation mode.

    Raises:
        ValueError: if it is another policy.
    """

    def __init__(self, policy: StateVLA) -> None:
        if not isinstance(policy, StateVLA):
            remedy = "plan with its agent.planning_world" if hasattr(policy, "agent") else "give a StateVLA"
            raise ValueError(f"a {type(policy).__name__} has no temporal predictor of StateVLA; {remedy}")
        self.policy = policy
        self.stride = policy.config.jepa.prediction_horizon
        self.action_dim = policy.config.action_dim

    def encode(self, observation: Context, previous: Any = None) -> Tensor:
        """Return z (B, D) of what is seen now."""
        return self.policy.encode(observation)[0]

    def imagine(self, state: Tensor, actions: Tensor) -> Tensor:
        """Return the states (B, N, H / k, D) after every k-th of H actions (B, N, H, A).

        Raises:
            ValueError: if H is no multiple of k.
        """
        horizon, stride = actions.shape[2], self.stride
        if horizon % stride:
            less, more = horizon // stride * stride, (horizon // stride + 1) * stride
            raise ValueError(
                f"horizon={horizon} is no multiple of the {stride} steps that the temporal predictor looks ahead; give "
                f"{f'{less} or {more}' if less else more}"
            )
        z = state[:, None].expand(-1, actions.shape[1], -1)
        return self.policy.temporal_predictor.imagine(z, actions.unflatten(2, (-1, stride)))

    def predict_rewards(self, state: Tensor, actions: Tensor, states: Tensor) -> NoReturn:
        """Raise a ValueError, as the model learned no rewards."""
        raise ValueError("StateVLA predicts no rewards; give a goal to plan for, and leave costs.reward_weight out")

    def predict_return(self, state: Tensor, actions: Tensor) -> NoReturn:
        """Raise a ValueError, as the model learned no rewards."""
        self.predict_rewards(state, actions, state)
