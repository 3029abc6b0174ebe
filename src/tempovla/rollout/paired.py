"""Paired comparison of two policies on the same episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tempovla.rollout.metrics import SuccessRate, wilson_interval
from tempovla.timeline.arguments import with_noun

SIGNIFICANCE = 0.05
MOST_ENUMERATED = 20
"""Pairs of returns up to which all 2^n assignments of signs are counted."""
RANDOM_FLIPS = 100_000
"""Assignments of signs that are drawn where there are more pairs."""
_FLIP_SEED = 0
_ROUNDING = 1e-12
"""Sums of returns that differ by less than this share of their terms are the same but for rounding."""


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


@dataclass(frozen=True)
class PairedReturns:
    """The returns of two policies on the same episodes. Every task counts alike, however many episodes it has.

    The p-value and the interval are those of the sign-flip permutation test for pairs (Fisher, 1935, The Design of
    Experiments, section 21; Pitman, 1937). If the policies are equally good, the difference of each pair could as well
    have the other sign, so that all assignments of signs are equally likely. Up to `MOST_ENUMERATED` pairs all of them
    are counted, and the test is exact. For more pairs, `RANDOM_FLIPS` assignments are drawn with a fixed seed, and the
    observed one is counted as one more, so that the p-value is valid, and never 0.

    Attributes:
        tasks: by task, the returns (first, second) of each pair.
    """

    tasks: tuple[tuple[tuple[float, float], ...], ...]

    @classmethod
    def of(cls, *tasks: Sequence[tuple[float, float]]) -> PairedReturns:
        """Keep the pairs (first, second) of one or more tasks.

        Raises:
            ValueError: if a task has none.
        """
        if not tasks or not all(tasks):
            raise ValueError("no pairs of episodes; evaluate both policies on the same ones")
        return cls(tuple(tuple((float(first), float(second)) for first, second in pairs) for pairs in tasks))

    @property
    def pairs(self) -> int:
        """How many episodes both policies played."""
        return sum(map(len, self.tasks))

    @property
    def first(self) -> float:
        """The mean return of the first policy."""
        return fmean(fmean(first for first, _ in pairs) for pairs in self.tasks)

    @property
    def second(self) -> float:
        """The mean return of the second policy."""
        return fmean(fmean(second for _, second in pairs) for pairs in self.tasks)

    @property
    def difference(self) -> float:
        """The mean return of the second policy minus that of the first."""
        return math.fsum(share * difference for share, difference in self._differences)

    @property
    def is_exact(self) -> bool:
        """Whether all assignments of signs are counted."""
        return self.pairs <= MOST_ENUMERATED

    @property
    def smallest_p_value(self) -> float:
        """The p-value if all differences had the same sign, below which the test cannot go."""
        return min(1.0, 2 / (2**self.pairs if self.is_exact else RANDOM_FLIPS + 1))

    @cached_property
    def p_value(self) -> float:
        """The two-sided p-value: how likely equally good policies differ at least this much."""
        _, total = self._flipped
        slack = _ROUNDING * math.fsum(abs(share * difference) for share, difference in self._differences)
        return min(1.0, 2 * float(min((total <= slack).mean(), (total >= -slack).mean())))

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of the difference; None for less than six pairs, which cannot rule any difference out.

        It holds all shifts that the test would not reject if the second policy's returns were lower by them. Its ends
        are mean differences of subsets of the pairs (Hartigan, 1969, Journal of the American Statistical Association
        64:1303). As the test does, it takes it that differences spread alike to both sides of their mean.
        """
        share, total = self._flipped
        means = total[share > 0] / share[share > 0]
        last = math.floor(SIGNIFICANCE / 2 * len(total)) - (len(total) - len(means))
        if last < 0:
            return None
        ordered = np.partition(means, (last, len(means) - 1 - last))
        return float(ordered[last]), float(ordered[len(means) - 1 - last])

    @property
    def is_significant(self) -> bool:
        """Whether equally good policies would differ this much in less than one comparison of twenty."""
        return self.p_value < SIGNIFICANCE

    @property
    def _differences(self) -> list[tuple[float, float]]:
        """Of each pair, its share in the mean, and the second return minus the first."""
        return [(1 / (len(self.tasks) * len(pairs)), second - first) for pairs in self.tasks for first, second in pairs]

    @cached_property
    def _flipped(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each assignment of signs, the observed one first: what its flipped pairs have of the mean's shares, and of
        the mean difference.

        With the signs of an assignment the mean difference is the observed one, less twice the latter.
        """
        drawn = np.random.default_rng(_FLIP_SEED)
        count = 1 if self.is_exact else RANDOM_FLIPS + 1
        share, total = np.zeros(count), np.zeros(count)
        for weight, difference in self._differences:
            if self.is_exact:
                share, total = np.append(share, share + weight), np.append(total, total + weight * difference)
            else:
                flips = drawn.integers(0, 2, RANDOM_FLIPS)
                share[1:] += flips * weight
                total[1:] += flips * (weight * difference)
        return share, total


def _combine(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a * a - 2 * correlation * a * b + b * b, 0.0))


def verdict(outcomes: PairedOutcomes) -> str:
    """Say in words whether the difference means anything."""
    low, high = outcomes.interval
    points = f"{100 * outcomes.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    discordant = outcomes.only_first + outcomes.only_second
    told = (
        f"over {with_noun(outcomes.pairs, 'paired episode')}, B alone solved {outcomes.only_second} and A alone "
        f"{outcomes.only_first} (exact McNemar p = {outcomes.p_value:.2g})"
    )
    if outcomes.is_significant:
        better, worse = ("B", "A") if outcomes.difference > 0 else ("A", "B")
        return f"{better} is better than {worse}: {points}, {told}"
    if discordant == 0:
        return f"no difference: {told}; more episodes narrow the interval {points}"
    return (
        f"no evidence of a difference yet: {points}, {told}; equally good policies differ this much in "
        f"{outcomes.p_value:.0%} of comparisons, and more episodes would tell"
    )


def return_verdict(returns: PairedReturns) -> str:
    """Say in words whether the difference of two mean returns means anything."""
    interval = returns.interval
    certainty = "" if interval is None else f" [{interval[0]:+.1f}, {interval[1]:+.1f}]"
    how = "exact" if returns.is_exact else f"{RANDOM_FLIPS:,} random flips"
    pairs = with_noun(returns.pairs, "paired episode")
    told = f"over {pairs} (sign-flip permutation test, {how}: p = {returns.p_value:.2g})"
    apart = round(returns.difference, 1) + 0.0  # without the sign of a zero
    if all(first == second for pairs in returns.tasks for first, second in pairs):
        return f"no difference: all {returns.pairs} paired episodes have the same return"
    if returns.is_significant:
        better, worse = ("B", "A") if returns.difference > 0 else ("A", "B")
        return f"{better} is better than {worse}: {apart:+.1f}{certainty} of mean return, {told}"
    return (
        f"no evidence of a difference yet: {apart:+.1f}{certainty} of mean return, {told}; equally good "
        f"policies differ this much in {returns.p_value:.0%} of comparisons, and more episodes would tell"
    )
