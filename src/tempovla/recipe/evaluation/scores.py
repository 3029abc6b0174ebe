"""What the episodes of an evaluation come to, by the score of the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tempovla.env.defaults import check_alike
from tempovla.env.protocol import Score, SimulatorConfig
from tempovla.recipe.results import pool, summarize, summarize_figures, summarize_return
from tempovla.rollout.evaluate import mean_figures, mean_returns, solved_at_once, success_rates
from tempovla.rollout.metrics import MeanReturn
from tempovla.rollout.runner import EpisodeResult


def scores_of(score: Score, episodes: Sequence[EpisodeResult], told: Mapping[str, str]) -> dict[str, Any]:
    """Return `tasks` and `mean` of results.json, and `score` where it is the return.

    Blocks of a simulator that measures more of its episodes hold the means as `figures`, by name.

    Where success is the score, `solved_at_once` counts the episodes that the simulator called solved after their first
    control step already, which says nothing of the policy. They are among the successes.

    Args:
        score: what episodes count by.
        episodes: of all tasks.
        told: the instruction of the policy, by task; a task without one was told by the simulator.
    """
    measured = {
        task: summarize_figures(mean_figures([episode for episode in episodes if episode.spec.task == task]))
        for task in dict.fromkeys(episode.spec.task for episode in episodes)
    }
    words = {task: {"instruction": told[task]} if task in told else {} for task in measured}
    overall = summarize_figures(mean_figures(episodes))
    if score == "return":
        returns = mean_returns(episodes)
        return {
            "score": score,
            "tasks": {task: words[task] | summarize_return(one) | measured[task] for task, one in returns.items()},
            "mean": summarize_return(MeanReturn.of_tasks(list(returns.values()))) | overall,
        }
    rates, at_once = success_rates(episodes), solved_at_once(episodes)
    return {
        "tasks": {
            task: words[task] | summarize(rate) | {"solved_at_once": at_once[task]} | measured[task]
            for task, rate in rates.items()
        },
        "mean": summarize(pool(list(rates.values()))) | {"solved_at_once": sum(at_once.values())} | overall,
    }


def in_their_place(env_config: SimulatorConfig, tasks: Sequence[str]) -> SimulatorConfig:
    """Return the simulator with the spaces of the tasks to play, where not all tasks have the same.

    Raises:
        ValueError: if the tasks are of different sizes.
    """
    if env_config.tasks_share_spaces or not tasks:
        return env_config
    check_alike(env_config, tasks)
    return replace(env_config, task=tasks[0])
