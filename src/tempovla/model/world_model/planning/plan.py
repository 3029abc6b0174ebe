"""Model predictive control in one call: the actions that a world model expects most of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.world_model.checks import check_context, check_seen, check_world
from tempovla.model.world_model.planning.bounds import ActionBounds, Numbers
from tempovla.model.world_model.planning.config import KINDS, PlannerConfig, check_counts
from tempovla.model.world_model.planning.inverse_planner import InverseDynamicsPlanner
from tempovla.model.world_model.planning.scores import Costs, Goal
from tempovla.model.world_model.planning.search import Plan, Score, search
from tempovla.model.world_model.protocol import ProposingWorldModel, WorldModel
from tempovla.timeline import Context
from tempovla.timeline.noise import mix_seed, row_normal

INVERSE_DYNAMICS = "inverse_dynamics"
"""The `kind` of a plan without a search."""
PROPOSALS = 101
"""Stream of the random numbers behind the proposals of a policy."""


def plan(
    world_model: WorldModel[Any],
    observation: Context,
    horizon: int = 15,
    *,
    kind: str = "mppi",
    num_samples: int = 512,
    seed: int | Tensor = 0,
    low: Numbers | None = None,
    high: Numbers | None = None,
    previous: Any = None,
    goal: Any = None,
    costs: Costs | None = None,
    start: Tensor | None = None,
    settings: PlannerConfig | None = None,
    whole: bool = False,
) -> Any:
    """Return the first actions (B, A) of a plan; with `whole` a `Plan` of all actions (B, H, A).

    Args:
        world_model: imagines, such as `policy.agent.planning_world` of a `WorldModelPolicy`.
        observation: what B rows see now, prepared as in training.
        horizon: number of steps H that are planned.
        kind: `mppi`, `cem`, `icem`, `shooting`, or `inverse_dynamics` towards a goal.
        num_samples: number of candidates of a round.
        seed: of all rows, or (B,) int64.
        low: least value of each dimension of an action, or one for all; -1 if neither bound is given.
        high: the same, greatest value; 1.
        previous: what a model that remembers, such as `RSSM`, knew at the step before; None if nothing.
        goal: what should be seen, as a `Context` of B rows or of one for all, its latent state, or a `Goal`.
        costs: what counts; None is the predicted return without a goal, and the distance in the latent space with one.
        start: (B, H, A) actions around which the search begins, such as the rest of the last plan.
        settings: all other settings of the search.
        whole: whether to return the whole plan.

    Raises:
        ValueError: if the horizon, the bounds or another argument cannot be planned with, or something that is seen is
            not finite.
    """
    check_world(world_model)
    check_context(observation)
    check_seen(observation)
    bounds = ActionBounds.of(low, high, getattr(world_model, "action_dim", None)).to(observation.device)
    config = planner_of(horizon, num_samples, kind, settings)
    with torch.no_grad(), _evaluated(world_model):
        state = world_model.encode(observation, *([] if previous is None else [previous]))
        aim = None if goal is None else Goal.of(world_model, goal, observation.batch_size)
        if kind == INVERSE_DYNAMICS:
            if aim is None:
                raise ValueError("kind='inverse_dynamics' needs a goal; give one, or choose a search such as mppi")
            found = InverseDynamicsPlanner(world_model).plan(state, aim.state, horizon)
            actions = bounds.actions(bounds.unit(found.actions))
            found = replace(found, actions=actions, mean=actions)
        else:
            score = (costs or Costs()).score(world_model, state, aim)
            seeds = _row_seeds(seed, observation)
            found = _searched(config, world_model, state, score, bounds, seeds, start)
    return found if whole else found.actions[:, 0]


def planner_of(horizon: int, num_samples: int, kind: str, settings: PlannerConfig | None = None) -> PlannerConfig:
    """Return the settings of a search with other main numbers, to which the number of elites and proposals is fitted.

    Raises:
        ValueError: if they do not fit.
    """
    base = settings or PlannerConfig()
    if kind not in (*KINDS, INVERSE_DYNAMICS):
        raise ValueError(f"kind={kind!r} is unknown; choose from {', '.join((*KINDS, INVERSE_DYNAMICS))}")
    check_counts("", horizon=horizon, num_samples=num_samples)
    return replace(
        base,
        horizon=horizon,
        num_samples=num_samples,
        num_elites=min(base.num_elites, num_samples),
        num_policy_samples=min(base.num_policy_samples, num_samples - 1),
        **({} if kind == INVERSE_DYNAMICS else {"kind": kind}),  # type: ignore[arg-type]
    )


def _searched(
    config: PlannerConfig,
    world: Any,
    state: Any,
    score: Score,
    bounds: ActionBounds,
    seed: Tensor,
    start: Tensor | None,
) -> Plan:
    """A search within bounds."""
    shape = (len(seed), config.horizon, len(bounds.low))
    if start is not None and tuple(start.shape) != shape:
        raise ValueError(
            f"start {tuple(start.shape)} must be {shape}, the rows, steps and dimensions of the plan; give it in that "
            "shape, or leave it out"
        )
    begin = torch.zeros(shape, device=seed.device) if start is None else bounds.unit(start.float())
    proposals = None
    if config.num_policy_samples and isinstance(world, ProposingWorldModel):
        noise = row_normal(mix_seed(seed, PROPOSALS), (config.num_policy_samples, *shape[1:]))
        proposals = bounds.unit(world.policy_rollouts(state, noise))
    return bounds.plan(search(config, lambda unit: score(bounds.actions(unit)), begin, seed, proposals))


def _row_seeds(seed: int | Tensor, observation: Context) -> Tensor:
    """(B,) int64, of which no two are the same."""
    rows, device = observation.batch_size, observation.device
    if isinstance(seed, Tensor):
        if seed.shape != (rows,) or seed.dtype != torch.int64:
            raise ValueError(f"seed {tuple(seed.shape)} ({seed.dtype}) must be a number, or ({rows},) int64")
        return seed.to(device)
    return mix_seed(torch.full((rows,), seed, device=device), torch.arange(rows, device=device))


@contextmanager
def _evaluated(world: Any) -> Iterator[None]:
    """Turn dropout off meanwhile."""
    learns = isinstance(world, nn.Module) and world.training
    if learns:
        world.eval()
    try:
        yield
    finally:
        if learns:
            world.train()
