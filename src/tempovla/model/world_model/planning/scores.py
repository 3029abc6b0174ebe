"""What a search looks for, as scores of candidates that can be added up.

A score takes actions (B, N, H, A) and returns how good each candidate is (B, N); higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.checks import of_a_goal
from tempovla.model.world_model.planning.search import Score
from tempovla.model.world_model.protocol import (
    DecodingWorldModel,
    FeaturedWorldModel,
    PreparedWorldModel,
    WorldModel,
)
from tempovla.timeline import Context

When = Literal["last", "path"]
"""Where candidates are compared with a goal: at their last step, or on average over all of them."""


@dataclass(frozen=True)
class Goal:
    """Where a plan should lead.

    Attributes:
        state: latent state of B rows.
        seen: what is seen there, of B rows or of one for all; None where the latent state alone is known.
    """

    state: Any
    seen: Context | None = None

    @classmethod
    def of(cls, world: WorldModel[Any], goal: Any, rows: int) -> Self:
        """Return a goal that is encoded once.

        Args:
            world: encodes.
            goal: what should be seen, as a `Context` of one or of all rows, its latent state, or a `Goal`.
            rows: number B of rows.

        Raises:
            ValueError: if it lacks a stream that the world model reads, or has another number of rows.
        """
        seen = goal if isinstance(goal, Context) else None
        if isinstance(goal, Goal):
            state, seen = goal.state, goal.seen
        else:
            with of_a_goal():
                state = goal if seen is None else world.encode(seen)
        return cls(map_tensors(lambda each: _for_rows(each, rows), state), seen)


@dataclass(frozen=True)
class Costs:
    """What counts in a plan.

    Attributes:
        reward_weight: of predicted rewards and of the value of what follows; None is 1 without a goal, and 0 with one.
        goal_weight: of the squared distance from the goal in the latent space.
        picture_weight: of the mean squared difference from the goal's pictures, which the world model must decode.
        when: where candidates are compared with the goal: at their `last` step, or on average along the `path`.
    """

    reward_weight: float | None = None
    goal_weight: float = 1.0
    picture_weight: float = 0.0
    when: When = "last"

    def __post_init__(self) -> None:
        for name in ("reward_weight", "goal_weight", "picture_weight"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"costs.{name}={value} must be finite")
        if self.when not in get_args(When):
            raise ValueError(f"costs.when={self.when!r} is unknown; choose from {', '.join(get_args(When))}")

    def score(self, world: WorldModel[Any], state: Any, goal: Goal | None = None) -> Score:
        """Return the score of candidates that begin in a state of B rows.

        Raises:
            ValueError: if nothing counts, or a goal or pictures do that are missing.
        """
        if goal is None and (self.picture_weight or self.goal_weight not in (0.0, Costs.goal_weight)):
            name = "picture_weight" if self.picture_weight else "goal_weight"
            raise ValueError(f"costs.{name}={getattr(self, name)} compares with a goal, which is missing; give a goal")
        reward_weight = float(goal is None) if self.reward_weight is None else self.reward_weight
        parts = [(reward_weight, return_score(world, state))] if reward_weight else []
        if goal is not None and self.goal_weight:
            parts.append((self.goal_weight, goal_score(world, state, goal.state, self.when)))
        if goal is not None and self.picture_weight:
            if goal.seen is None:
                raise ValueError(
                    f"costs.picture_weight={self.picture_weight} needs a goal that is a Context with pictures"
                )
            parts.append((self.picture_weight, picture_score(world, state, goal.seen, self.when)))
        return weighted(parts)


def return_score(world: WorldModel[Any], state: Any) -> Score:
    """Return a score by the predicted rewards from a state on, and the value of what follows them."""
    if isinstance(world, PreparedWorldModel):
        return world.returns_from(state)
    return lambda actions: world.predict_return(state, actions)


def goal_score(world: WorldModel[Any], state: Any, goal: Any, when: When = "last") -> Score:
    """Return a score by the squared distance from a goal in the latent space.

    Args:
        world: imagines.
        state: of B rows, from which candidates begin.
        goal: state of B rows, or of one for all.
        when: where the distance is taken.
    """
    aim = latent_vector(world, goal)

    def score(actions: Tensor) -> Tensor:
        apart = latent_vector(world, world.imagine(state, actions)) - aim[:, None, None]
        return -_over_steps(apart.float().square().sum(dim=-1), when)

    return score


def policy_score(world: Any, state: Tensor, cost: Tensor) -> Score:
    """Return a score by the squared distance of actions from the policy's most likely ones, discounted as rewards are.

    Args:
        world: imagines, and has the policy's mean (`policy_mean`) and the `discount` of a step.
        state: of B rows, from which candidates begin.
        cost: () of a squared distance of 1 at one step.
    """

    def score(actions: Tensor) -> Tensor:
        here = state[:, None, None].expand(-1, actions.shape[1], -1, -1)
        before = torch.cat([here, world.imagine(state, actions)[:, :, :-1]], dim=2)
        apart = (actions - world.policy_mean(before)).square().sum(dim=-1)
        weights = world.discount ** torch.arange(apart.shape[-1], device=apart.device, dtype=apart.dtype)
        return -cost * (weights * apart).sum(dim=-1)

    return score


def picture_score(world: WorldModel[Any], state: Any, goal: Context, when: When = "last") -> Score:
    """Return a score by the mean squared difference from a goal's pictures, of colours from 0 to 1.

    Args:
        world: imagines, and decodes what it imagines.
        state: of B rows, from which candidates begin.
        goal: what should be seen, of B rows or of one for all; its pictures (B, 1, 3, S, S) have colours from 0 to 255.
        when: where the difference is taken.

    Raises:
        ValueError: if the world model has no decoder, or the goal no picture that it decodes.
    """
    if not isinstance(world, DecodingWorldModel):
        raise ValueError(
            f"{type(world).__name__} has no decoder, which picture_weight needs; leave picture_weight out, and compare "
            "with the goal in the latent space by goal_weight"
        )
    known = [key for key in goal.now if goal.now[key].value.ndim == 5]

    def score(actions: Tensor) -> Tensor:
        decoded = world.decode(world.imagine(state, actions))
        if not decoded:
            raise ValueError(
                f"{type(world).__name__} reads no pictures, so it decodes none, which picture_weight needs; leave "
                "picture_weight out, and compare with the goal in the latent space by goal_weight"
            )
        keys = [key for key in known if key in decoded]
        if not keys:
            raise ValueError(
                f"the goal has the pictures {known}, but the model decodes {sorted(decoded)}; give one of them"
            )
        total = torch.zeros((), device=actions.device)
        for key in keys:
            apart = (decoded[key].float() - goal.now[key].value[:, None].float()) / 255.0
            total = total + _over_steps(apart.square().mean(dim=(-1, -2, -3)), when)
        return -total / len(keys)

    return score


def weighted(parts: Sequence[tuple[float, Score]]) -> Score:
    """Return the weighted sum of scores.

    Raises:
        ValueError: if there is none.
    """
    if not parts:
        raise ValueError("nothing counts in the plan; give costs.reward_weight, or a goal and costs.goal_weight")
    if len(parts) == 1 and parts[0][0] == 1.0:
        return parts[0][1]
    return lambda actions: torch.stack([weight * score(actions) for weight, score in parts]).sum(dim=0)


def latent_vector(world: WorldModel[Any], state: Any) -> Tensor:
    """Return states as vectors (..., D).

    Raises:
        ValueError: if they are no tensors, and the world model tells no `features` of them.
    """
    if isinstance(state, Tensor):
        return state
    if isinstance(world, FeaturedWorldModel):
        return world.features(state)
    raise ValueError(f"states of {type(world).__name__} are no vectors to compare; give it a method `features`")


def _for_rows(state: Tensor, rows: int) -> Tensor:
    """State of one row or of all of them as one of all."""
    if len(state) not in (1, rows):
        raise ValueError(
            f"the goal has {len(state)} rows, but {rows} are planned for; give one for each, or one for all"
        )
    return state if len(state) == rows else state.expand(rows, *state.shape[1:])


def _over_steps(distance: Tensor, when: When) -> Tensor:
    """Distances (B, N, H) as one for each candidate (B, N)."""
    return distance[:, :, -1] if when == "last" else distance.mean(dim=2)
