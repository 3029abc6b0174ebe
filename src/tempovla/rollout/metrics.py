"""Success rates with the uncertainty that their number of episodes leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054


def wilson_interval(successes: int, episodes: int, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a success probability (Wilson, 1927), of 95% for the default z.

    Raises:
        ValueError: if there are no episodes, or more successes than episodes.
    """
    if not 0 <= successes <= episodes or episodes == 0:
        raise ValueError(f"{successes} successes of {episodes} episodes give no rate; run at least one episode")
    rate = successes / episodes
    denominator = 1 + z * z / episodes
    centre = (rate + z * z / (2 * episodes)) / denominator
    half = z * math.sqrt(rate * (1 - rate) / episodes + z * z / (4 * episodes * episodes)) / denominator
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == episodes else centre + half
    return low, high


@dataclass(frozen=True)
class SuccessRate:
    """How many of some episodes succeeded."""

    successes: int
    episodes: int

    @classmethod
    def of(cls, outcomes: Sequence[bool]) -> SuccessRate:
        """Count the successes among some outcomes."""
        return cls(sum(outcomes), len(outcomes))

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.successes / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval."""
        return wilson_interval(self.successes, self.episodes)
