"""A goal for an evaluation: what one step of a dataset shows, towards which a policy's world model plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from tempovla.control.controller import Actor, Controller
from tempovla.model.vla.goal_policy import GoalPolicy, goal_of_steps
from tempovla.model.vla.world_model_policy import WorldModelPolicy
from tempovla.model.world_model.planning.scores import Costs
from tempovla.recipe.evaluation.goal_steps import FORM, find_step, prepared
from tempovla.timeline import Bundle
from tempovla.timeline.arguments import brief, path_argument
from tempovla.timeline.config import config_from_json, config_to_json

GoalBy = Literal["search", "inverse_dynamics"]
"""How the actions towards a goal are found."""


@dataclass(frozen=True)
class GoalOptions:
    """What a policy plans towards while it is evaluated, instead of what it learned.

    Attributes:
        place: `DATASET[:EPISODE[:STEP]]`: the step whose observation is the goal, of a dataset or of the `replay` of a
            run. Without STEP it is the last one of the episode. Without EPISODE it is the step to which the highest
            recorded reward led, or the last one of episode 0 where no rewards are recorded.
        costs: what counts on the way; None is the distance from the goal in the latent space alone.
        by: `search` plans as the policy's settings say, `inverse_dynamics` asks the model for the action.
    """

    place: str | Path
    costs: Costs | None = None
    by: GoalBy = "search"

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", str(path_argument("goal", self.place, "a dataset")))
        if self.costs is not None and not isinstance(self.costs, Costs):
            raise ValueError(f"goal costs {brief(self.costs)} are no Costs; give some, such as Costs(goal_weight=1.0)")
        if self.by not in get_args(GoalBy):
            raise ValueError(f"goal_by={brief(self.by)} is unknown; choose from {', '.join(get_args(GoalBy))}")
        if self.by == "inverse_dynamics" and self.costs is not None:
            raise ValueError("goal_costs have no effect with goal_by=inverse_dynamics; leave out one of them")

    @classmethod
    def given(cls, place: str | None, costs: Mapping[str, Any] | None, by: GoalBy | None) -> Self | None:
        """Return the options that a user wrote; None where there is no goal.

        Raises:
            ValueError: naming the option, if one does not fit, or there are options without a goal.
        """
        if place is None:
            if costs is not None or by is not None:
                name = "goal_by" if costs is None else "goal_costs"
                raise ValueError(f"--{name} has no effect without a goal; give --goal {FORM}")
            return None
        weights = None if costs is None else config_from_json(Costs, costs, "goal_costs", upgrade=False)
        return cls(place, weights, by or "search")


def towards_goal(actor: Actor, goal: str | Path | GoalOptions | None, bundle: Bundle) -> tuple[Actor, dict[str, Any]]:
    """Let a policy's world model plan towards a goal.

    Args:
        actor: the policy behind its transforms.
        goal: what to plan towards; None leaves the policy as it is.
        bundle: of the policy.

    Returns:
        What acts, and what results say of the goal; nothing where there is none.

    Raises:
        ValueError: if the policy has no world model that can plan so, or the goal is no step of a dataset that shows
            what the policy reads of its body.
    """
    if goal is None:
        return actor, {}
    options = goal if isinstance(goal, GoalOptions) else GoalOptions(goal)
    where = bundle.origin or "the policy"
    if not isinstance(actor, Controller):
        raise ValueError(f"{where}: an exported file plans towards no goal; give its checkpoint, or leave the goal out")
    policy = actor.policy
    if not isinstance(policy, WorldModelPolicy):
        raise ValueError(
            f"{where}: policy {bundle.policy!r} has no world model that plans towards a goal; leave the goal out, or "
            "give a checkpoint of `tempovla train world-model`"
        )
    if policy.config.plans is False:
        raise ValueError(
            f"{where}: model.plans=false acts without planning, but the goal {str(options.place)!r} is to be planned "
            "towards; leave out one of them"
        )
    step = find_step(str(options.place), policy, bundle)
    seen, digest = prepared(step, policy, actor.transform)
    by_inverse_dynamics = options.by == "inverse_dynamics"
    aimed = GoalPolicy(
        policy, goal_of_steps(policy, seen), costs=options.costs, by_inverse_dynamics=by_inverse_dynamics
    )
    costs = {} if by_inverse_dynamics else {"costs": config_to_json(options.costs or Costs())}
    place = {"dataset": str(step.folder), "episode": step.episode, "step": step.step}
    said = {"goal": {**place, "by": options.by, **costs, "sha256": digest}}
    return Controller(aimed, actor.transform, bundle, actor.device), said


def goal_in_words(said: Mapping[str, Any]) -> str:
    """Return how the sentence about an evaluation goes on, from what `towards_goal` says."""
    goal = said.get("goal")
    return "" if goal is None else f", towards step {goal['step']} of episode {goal['episode']} of {goal['dataset']}"
