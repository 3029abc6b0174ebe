"""Progress of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tempovla.env.protocol import Score
from tempovla.recipe.progress import CountProgress
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline.arguments import with_noun
from tempovla.timeline.driving import FAILURES

LOGGER = logging.getLogger(__name__)


class EvaluationProgress(CountProgress):
    """Counts episodes and successes, or averages returns; in a log there is a line for every episode.

    Args:
        total: number of episodes.
        before: episodes that ended in an earlier call.
        score: what episodes count by.
    """

    def __init__(self, total: int, before: Sequence[EpisodeResult] = (), score: Score = "success") -> None:
        super().__init__("episodes", total, done=len(before))
        self.score = score
        self.solved = sum(result.success for result in before)
        self.rewards = sum(result.total_reward for result in before)

    def add(self, result: EpisodeResult) -> None:
        """Report an episode that ended."""
        self.solved += result.success
        self.rewards += result.total_reward
        by_return = self.score == "return"
        self.count(1, f"mean return {self.rewards / (self.done + 1):.1f}" if by_return else f"{self.solved} solved")
        if self.on_terminal:
            return
        spec, outcome = result.spec, "success" if result.success else "failure"
        if by_return:
            outcome = f"return {result.total_reward:.1f}"
        elif not result.success and (why := [name for name in FAILURES if result.figures.get(name)]):
            outcome += f" ({', '.join(why).replace('_', ' ')})"
        start = "" if spec.init_state is None else f", initial state {spec.init_state}"
        LOGGER.info(
            "%d of %d: %s%s, seed %d: %s after %s",
            *(self.done, self.total, spec.task, start, spec.seed, outcome, with_noun(result.steps, "step")),
        )
