"""How many steps of a dataset have a target, a frame that was recorded a number of steps later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tempovla.timeline.source import EpisodeSource


@dataclass(frozen=True)
class TargetCount:
    """The steps of a dataset, and those with a target.

    Attributes:
        ahead: how many steps later the target is.
        episodes: number of episodes.
        steps: number of their steps.
        targets: number of the steps whose target lies within the episode.
        too_short: number of episodes in which no step has one.
    """

    ahead: int
    episodes: int
    steps: int
    targets: int
    too_short: int

    @property
    def share(self) -> float:
        """Share of the steps with a target."""
        return self.targets / max(self.steps, 1)

    def __str__(self) -> str:
        """The count in words."""
        return f"{self.targets:,} of {self.steps:,} steps ({self.share:.1%}) have a target {self.ahead} steps later"


def count_targets(source: EpisodeSource, ahead: int, episodes: Iterable[int] | None = None) -> TargetCount:
    """Return how many steps of a dataset have a target, by the lengths of its episodes alone.

    Args:
        source: the dataset.
        ahead: how many steps later the target is.
        episodes: the episodes that count; None counts all.
    """
    lengths = [source.episode(index).length for index in (range(len(source)) if episodes is None else episodes)]
    kept = [max(length - ahead, 0) for length in lengths]
    return TargetCount(ahead, len(lengths), sum(lengths), sum(kept), kept.count(0))
