"""Paired comparison of two policies on the same episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tempovla.rollout.metrics import SuccessRate, wilson_interval

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PairedOutcomes:
    """How often two policies solved the same episodes.

    Attributes:
        both: solved by both.
        only_first: solved by the first alone.
        only_second: solved by the second alone.
        neither: solved by neither.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[bool, bool]]) -> PairedOutcomes:
        """Count pairs (first, second) of successes.

        Raises:
            ValueError: if there are none.
        """
        if not pairs:
            raise ValueError("no pairs of episodes; evaluate both policies on the same ones")
        kinds = ((True, True), (True, False), (False, True), (False, False))
        return cls(*(sum(pair == kind for pair in pairs) for kind in kinds))

    @property
    def pairs(self) -> int:
        """How many episodes both policies played."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> SuccessRate:
        """The success rate of the first policy."""
        return SuccessRate(self.both + self.only_first, self.pairs)

    @property
    def second(self) -> SuccessRate:
        """The success rate of the second policy."""
        return SuccessRate(self.both + self.only_second, self.pairs)

    @property
    def difference(self) -> float:
        """The success rate of the second policy minus that of the first."""
        return (self.only_second - self.only_first) / self.pairs

    @property
    def p_value(self) -> float:
        """The p-value of McNemar's exact two-sided test: how likely equally good policies differ at least this much.

        Under that hypothesis each episode that one policy alone solved is a toss of a fair coin (McNemar, 1947).
        """
        discordant = self.only_first + self.only_second
        tail = sum(math.comb(discordant, k) for k in range(min(self.only_first, self.only_second) + 1))
        return min(1.0, 2 * tail / 2**discordant)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference (Newcombe, 1998, Statistics in Medicine 17:2635, method 10).

        It combines Wilson's intervals of the two rates according to their correlation over the pairs.
        """
        first, second, difference = self.first.rate, self.second.rate, self.difference
        low_1, high_1 = wilson_interval(self.first.successes, self.pairs)
        low_2, high_2 = wilson_interval(self.second.successes, self.pairs)
        down = _combine(second - low_2, high_1 - first, self._correlation)
        up = _combine(high_2 - second, first - low_1, self._correlation)
        return max(-1.0, difference - down), min(1.0, difference + up)

    @property
    def _correlation(self) -> float:
        """The coefficient phi of the table, brought nearer to 0 where it is positive, as Newcombe does."""
        solved, failed = self.both + self.only_first, self.only_second + self.neither
        solved_2, failed_2 = self.both + self.only_second, self.only_first + self.neither
        scale = math.sqrt(solved * failed * solved_2 * failed_2)
        if scale == 0:
            return 0.0
        excess = self.both * self.neither - self.only_first * self.only_second
        return (max(excess - self.pairs / 2, 0.0) if excess > 0 else excess) / scale

    @property
    def is_significant(self) -> bool:
        """Whether equally good policies would differ this much in less than one comparison of twenty."""
        return self.p_value < SIGNIFICANCE


def _combine(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a * a - 2 * correlation * a * b + b * b, 0.0))


def verdict(outcomes: PairedOutcomes) -> str:
    """Say in words whether the difference means anything."""
    low, high = outcomes.interval
    points = f"{100 * outcomes.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    discordant = outcomes.only_first + outcomes.only_second
    told = (
        f"over {outcomes.pairs} paired episodes, B alone solved {outcomes.only_second} and A alone "
        f"{outcomes.only_first} (exact McNemar p = {outcomes.p_value:.2g})"
    )
    if outcomes.is_significant:
        better, worse = ("B", "A") if outcomes.difference > 0 else ("A", "B")
        return f"{better} is better than {worse}: {points}, {told}"
    if discordant == 0:
        return f"no difference: {told}; more episodes narrow the interval {points}"
    return (
        f"the difference means nothing yet: {points}, {told}; equally good policies differ this much in "
        f"{outcomes.p_value:.0%} of comparisons, and more episodes would tell"
    )
