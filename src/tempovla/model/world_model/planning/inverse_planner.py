"""A plan without a search: the inverse dynamics of a world model, step after step towards a goal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tempovla.model.layers.row_state import map_tensors
from tempovla.model.world_model.planning.scores import goal_score
from tempovla.model.world_model.planning.search import Plan
from tempovla.model.world_model.protocol import InvertingWorldModel, WorldModel


class InverseDynamicsPlanner:
    """Asks the world model for the action towards the goal, imagines it, and asks again.

    It makes one candidate where a search makes thousands; searches must find better ones to be worth their cost.

    Args:
        world: a `WorldModel` that is an `InvertingWorldModel`.

    Raises:
        ValueError: if the world model tells no actions.
    """

    def __init__(self, world: Any) -> None:
        if not isinstance(world, InvertingWorldModel):
            raise ValueError(f"{type(world).__name__} has no inverse dynamics; plan by a search such as cem instead")
        self.world: Any = world

    def plan(self, state: Any, goal: Any, horizon: int) -> Plan:
        """Return H actions that should reach a goal at their end.

        Args:
            state: of B rows.
            goal: of B rows.
            horizon: number of steps H.

        Raises:
            ValueError: if the horizon is below 1, or the model did not learn inverse dynamics.
        """
        if horizon < 1:
            raise ValueError(f"horizon={horizon} must be at least 1")
        world: WorldModel[Any] = self.world
        now, actions = state, []
        for left in range(horizon, 0, -1):
            actions.append(self.world.inverse_action(now, goal, left))
            if left > 1:
                now = _only_step(world.imagine(now, actions[-1][:, None, None]))
        chosen: Tensor = torch.stack(actions, dim=1)
        value = goal_score(world, state, goal)(chosen[:, None])[:, 0]
        return Plan(chosen, chosen, torch.zeros_like(chosen), value)


def _only_step(states: Any) -> Any:
    """States (B, 1, 1, ...) as those of the rows (B, ...)."""
    return map_tensors(lambda each: each[:, 0, 0], states)
