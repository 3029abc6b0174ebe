"""Puts the figures of a diagnosis into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tempovla.report.format_text import change_of

FEWEST_EPISODES = 10
"""With fewer episodes an interval means little."""
ONE_FRAME = "The policy sees one frame: it has no past."


def verdict(figures: Mapping[str, Any], has_context: bool, episodes: int) -> list[str]:
    """Return some sentences; a change counts where its 95% interval leaves out 0.

    There is no verdict from fewer than `FEWEST_EPISODES`, nor on a policy that is further from the demonstrations than
    their mean action: what it does with its past then says nothing about what it has learned.
    """
    one_frame = [] if has_context else [ONE_FRAME]
    withheld = _withheld(figures, episodes)
    if withheld is not None:
        return [*one_frame, withheld]
    sentences = _of_the_past(figures["conditions"]) if has_context else one_frame
    return [*sentences, _of_copying(figures["copycat"])]


def foreseen(has_context: bool, episodes: int) -> list[str]:
    """Return what a verdict will lack, whatever the figures are."""
    few = [_of_few(episodes)] if episodes < FEWEST_EPISODES else []
    return [*([] if has_context else [f"{ONE_FRAME} Only whether it copies its last action is judged."]), *few]


def _of_few(episodes: int) -> str:
    return (
        f"No verdict: {episodes} episodes are too few to tell a difference from chance; look at {FEWEST_EPISODES} or "
        "more."
    )


def _withheld(figures: Mapping[str, Any], episodes: int) -> str | None:
    """Return why there is no verdict; None if there is one."""
    if episodes < FEWEST_EPISODES:
        return _of_few(episodes)
    error, of_mean = figures["conditions"]["full"]["error"], figures["mean_action"]["error"]
    if error > of_mean:
        return (
            f"No verdict: the policy's error, {error:.4f}, is above {of_mean:.4f}, that of always giving the mean of "
            "the demonstrated actions; train it longer, or give demonstrations of its task."
        )
    return None


def _of_the_past(conditions: Mapping[str, Any]) -> list[str]:
    changes = {
        name: change_of(block, conditions["full"]["error"]) for name, block in conditions.items() if name != "full"
    }
    signs = {name: _sign(block["difference_ci95"]) for name, block in conditions.items() if name != "full"}
    told = f"without it the error changes by {changes['removed']}, with another episode's by {changes['another']}"
    if signs["removed"] > 0 and signs["another"] > 0:
        sentences = [f"The policy uses its past: {told}."]
    elif signs["removed"] > 0:
        sentences = [f"The policy uses its past, but any episode's does as well: {told}."]
    elif signs["another"] > 0:
        sentences = [f"The policy looks at its past, but gains nothing by it: {told}."]
    elif signs["removed"] < 0:
        sentences = [f"The past does harm: {told}."]
    else:
        sentences = [f"No sign that the past is used: {told}."]
    matters = "matters" if signs["shuffled"] > 0 else "shows no effect"
    return [*sentences, f"The order of the past {matters}: shuffled, the error changes by {changes['shuffled']}."]


def _of_copying(copycat: Mapping[str, Any]) -> str:
    expert, policy, excess = (copycat[name] for name in ("expert_r2", "policy_r2", "excess"))
    if excess["value"] is None:
        return "Copying cannot be judged: the actions of the expert or the policy do not vary."
    told = f"R^2 {policy['value']:.2f} for the policy, {expert['value']:.2f} for the expert, excess {_span(excess)}"
    if _sign(excess["ci95"]) > 0:
        return f"The last action predicts the policy's next action better than the expert's: {told}."
    return (
        f"No sign of copying: the last action predicts the policy's next action no better than the expert's ({told})."
    )


def _sign(interval: list[float]) -> int:
    return int(interval[0] > 0) - int(interval[1] < 0)


def _span(block: Mapping[str, Any]) -> str:
    low, high = block["ci95"]
    return f"{block['value']:+.2f} [{low:+.2f}, {high:+.2f}]"
