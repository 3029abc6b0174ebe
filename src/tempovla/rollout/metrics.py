"""Success rates, mean returns and other figures with the uncertainty that their number of episodes leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
RESAMPLES = 2000
"""Resamples of the episodes behind the interval of a mean figure."""
_RESAMPLING_SEED = 0


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


def t_quantile(degrees: int) -> float:
    """Return the 97.5% quantile of Student's t distribution, within which 95% of it lie on both sides of 0.

    The probability is the finite series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.

    Raises:
        ValueError: for less than one degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"degrees={degrees} must be at least 1")
    low, high = 0.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 0.95 else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """The probability of |T| <= t."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if degrees % 2:
        term = cosine
        for k in range(1, degrees - 1, 2):
            total += term
            term *= cosine * cosine * (k + 1) / (k + 2)
        return 2 / math.pi * (angle + math.sin(angle) * total)
    for k in range(0, degrees, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return math.sin(angle) * total


@dataclass(frozen=True)
class MeanReturn:
    """The mean return of some episodes, or of several tasks together.

    Attributes:
        mean: of the returns.
        episodes: how many there are.
        error: standard error of the mean; None where it is not known, as of a single episode.
        degrees: degrees of freedom of the standard error; 0 where there is none.
    """

    mean: float
    episodes: int
    error: float | None
    degrees: int

    @classmethod
    def of(cls, returns: Sequence[float]) -> MeanReturn:
        """Return the mean of the returns of some episodes of one task.

        Raises:
            ValueError: if there are none.
        """
        if not returns:
            raise ValueError("no returns have no mean; run at least one episode")
        episodes = len(returns)
        error = statistics.stdev(returns) / math.sqrt(episodes) if episodes > 1 else None
        return cls(statistics.fmean(returns), episodes, error, episodes - 1)

    @classmethod
    def of_tasks(cls, means: Sequence[MeanReturn]) -> MeanReturn:
        """Return the mean over tasks, each of which counts alike.

        Its error follows from the spread within the tasks alone, with the degrees of freedom of Welch (1947) and
        Satterthwaite (1946), rounded down.
        """
        mean, episodes = statistics.fmean(each.mean for each in means), sum(each.episodes for each in means)
        known = [(each.error, each.degrees) for each in means if each.error is not None]
        if len(known) < len(means):
            return cls(mean, episodes, None, 0)
        variance = sum(error**2 for error, _ in known)
        spread = sum(error**4 / degrees for error, degrees in known)
        degrees = int(variance**2 / spread + 1e-9) if spread else sum(degrees for _, degrees in known)
        return cls(mean, episodes, math.sqrt(variance) / len(means), degrees)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval by Student's t; None where the spread is not known."""
        if self.error is None:
            return None
        half = t_quantile(self.degrees) * self.error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of the episodes, drawn with replacement (Efron, 1979).

    Attributes:
        weights: (R, E), how often each of E episodes is in each of R resamples.
    """

    weights: NDArray[np.float64]

    @classmethod
    def draw(cls, episodes: int, resamples: int, seed: int) -> Bootstrap:
        """Draw `resamples` resamples, each with as many episodes as there are."""
        random = np.random.default_rng(seed)
        drawn = random.multinomial(episodes, np.full(episodes, 1 / episodes), size=resamples)
        return cls(drawn.astype(np.float64))

    def interval(self, value: NDArray[np.float64]) -> list[float]:
        """Return the 95% percentile interval of a statistic (R,) of the resamples."""
        low, high = np.percentile(value, (2.5, 97.5))
        return [float(low), float(high)]


@dataclass(frozen=True)
class MeanFigure:
    """The mean of a figure that the simulator measures of each episode.

    Attributes:
        mean: of the episodes; every task counts alike.
        episodes: how many there are.
        interval: 95% percentile interval of `RESAMPLES` resamples of each task's episodes, drawn with a fixed seed;
            None of tasks with a single episode, which no resample changes.
    """

    mean: float
    episodes: int
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, *tasks: Sequence[float]) -> MeanFigure:
        """Return the mean over the episodes of one or more tasks.

        Args:
            tasks: the figure in each episode of a task.

        Raises:
            ValueError: if a task has no episode.
        """
        if not tasks or not all(map(len, tasks)):
            raise ValueError("no episodes have no mean figure; run at least one episode of each task")
        values = [np.asarray(task, np.float64) for task in tasks]
        mean = float(np.mean([task.mean() for task in values]))
        episodes = sum(map(len, values))
        if all(len(task) == 1 for task in values):
            return cls(mean, episodes, None)
        resampled = np.zeros(RESAMPLES)
        for number, task in enumerate(values):
            drawn = Bootstrap.draw(len(task), RESAMPLES, _RESAMPLING_SEED + number)
            resampled += drawn.weights @ task / len(task) / len(values)
        low, high = drawn.interval(resampled)
        return cls(mean, episodes, (low, high))
