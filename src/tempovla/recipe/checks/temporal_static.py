"""Checks of a config and a mixture that need no data."""

from __future__ import annotations

from tempovla.data.temporal.config import TemporalDataConfig
from tempovla.data.temporal.mixtures import MixtureTable, TemporalMember
from tempovla.recipe.checks.findings import Findings
from tempovla.recipe.checks.temporal_plan import TemporalPlan
from tempovla.recipe.systems.temporal_mixtures import target_remedy


def check_mixture(
    plan: TemporalPlan, table: MixtureTable, mixture: str, findings: Findings
) -> list[tuple[TemporalMember, TemporalDataConfig]]:
    """Check what a config says against a mixture.

    Args:
        plan: what the model asks for.
        table: types of robots and mixtures.
        mixture: name of the mixture.
        findings: to which the findings are added.

    Returns:
        The datasets whose type of robot is known, with the steps that a sample of each holds.
    """
    try:
        members = table.members(mixture)
    except ValueError as problem:
        findings.require("mixture", str(problem), "")
        return []
    noun = "dataset" if len(members) == 1 else "datasets"
    findings.require("mixture", None, f"{mixture} holds {len(members)} {noun}")
    known = []
    for member in members:
        try:
            config = table.config(member.robot_type)
        except ValueError as problem:
            findings.require(f"robot_type.{member.dataset}", str(problem), "")
            continue
        findings.require(
            f"robot_type.{member.dataset}", None, f"{member.robot_type}, drawn with weight {member.weight:g}"
        )
        known.append((member, config))
        missing = [step for step in plan.later if step not in config.observation_indices]
        remedy = target_remedy(table, mixture, member, plan.later, plan.action_horizon) if missing else ""
        _check_steps(plan, member, config, remedy, findings)
    return known


def check_plan(plan: TemporalPlan, findings: Findings) -> None:
    """Check what a config says by itself."""
    k, horizon, furthest = plan.k, plan.action_horizon, max(plan.later)
    beyond = f"k = {furthest}, but the model predicts {horizon} actions: what happens until then is not known to it"
    lower = f"set temporal_delta_k to {horizon} or less" if k > horizon else f"leave {furthest} out of horizons"
    findings.require(
        "k_within_chunk",
        f"{beyond}; {lower}" if furthest > horizon else None,
        f"the {furthest} actions before t + {furthest} are all among the {horizon} of the chunk",
    )
    findings.advise("k_covers_chunk", *_coverage(plan))
    if plan.unlearned is not None:
        findings.advise("prediction_learns", plan.unlearned, "")
    for name, steps in (("observation_indices", plan.observation_indices), ("action_indices", plan.action_indices)):
        if steps is not None:
            findings.require(f"config.{name}", _own_problem(plan, name, steps), f"{list(steps)}")
    problem = None
    if plan.include_state and plan.state_dim is None:
        problem = "include_state is true, but the model reads no state; set robot_state_dim, or include_state to false"
    elif plan.state_dim is not None and not plan.include_state:
        problem = f"the model reads a state of {plan.state_dim} dimensions; set include_state to true"
    read = "no state is read" if plan.state_dim is None else f"a state of {plan.state_dim} dimensions is read"
    findings.require("state", problem, read)


def _coverage(plan: TemporalPlan) -> tuple[str | None, str]:
    """Return what the targets do not show of a chunk, None if control sees all; and what holds."""
    k, horizon, furthest = plan.k, plan.action_horizon, max(plan.later)
    if plan.replans:
        return None, f"the policy looks every {k} steps whether its chunk still fits"
    if plan.decides_every_k:
        return None, f"the policy decides every {k} steps, so the frame at t + {k} is the one that it sees next"
    if furthest >= horizon:
        return None, f"{'the target shows' if furthest == k else 'the targets show'} what all {horizon} actions do"
    target = f"the frame at t + {k}" if furthest == k else f"the furthest target, at t + {furthest},"
    return (
        f"k = {k} of {horizon} actions: {target} does not show what the later actions do; set temporal_delta_k to "
        f"{horizon}, so that the target is the frame that control sees when it has executed a whole chunk"
    ), ""


def _own_problem(plan: TemporalPlan, name: str, steps: tuple[int, ...]) -> str | None:
    """Return what is wrong with steps that the config's own data section names."""
    if name == "action_indices":
        return _chunk_problem(plan, steps)
    missing = [step for step in (0, *plan.later) if step not in steps]
    return f"{list(steps)} lacks {_listed(missing)}; add it to data.observation_indices" if missing else None


def _check_steps(
    plan: TemporalPlan, member: TemporalMember, config: TemporalDataConfig, remedy: str, findings: Findings
) -> None:
    """Check the steps of one dataset; the remedy is for a target that its type of robot does not observe."""
    name = member.dataset
    findings.require(f"chunk.{name}", _chunk_problem(plan, config.action_indices), f"{config.action_horizon} actions")
    observed = list(config.observation_indices)
    findings.require(
        f"observes_now.{name}",
        None if 0 in observed else f"robot type {member.robot_type} observes {observed}, not 0, which is now; add it",
        f"{observed} holds 0",
    )
    missing = [step for step in plan.later if step not in observed]
    findings.require(
        f"observes_k.{name}",
        f"robot type {member.robot_type} observes {observed}, not t + {missing[0]}, so no sample has that target; "
        f"{remedy}"
        if missing
        else None,
        f"{observed} holds {_listed([*plan.later])}",
    )


def _chunk_problem(plan: TemporalPlan, steps: tuple[int, ...]) -> str | None:
    """Return how the actions of a sample differ from those that the model predicts."""
    if len(steps) == plan.action_horizon:
        return None
    return (
        f"a sample holds {len(steps)} actions, but the model predicts {plan.action_horizon}; set action_horizon or "
        "action_indices to the same"
    )


def _listed(steps: list[int]) -> str:
    return " and ".join(map(str, steps))
