"""Figures of a diagnosis with the uncertainty that their number of episodes leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.rollout.metrics import Bootstrap

Array = NDArray[np.float64]

RIDGE = 1e-3
"""Weight of the penalty of a regression, beside a mean squared error of normalised actions."""
FOLDS = 5


@dataclass(frozen=True)
class EpisodeErrors:
    """Absolute errors of each episode.

    Attributes:
        total: (E,) their sums over steps and dimensions.
        count: (E,) how many were summed.
    """

    total: Array
    count: Array

    @classmethod
    def of(cls, absolute: Array, valid: NDArray[np.bool_], episode: NDArray[np.int64], episodes: int) -> EpisodeErrors:
        """Sum the errors (N, k, A) where `valid` (N, k) is True, by the `episode` (N,) of the decision."""
        total = np.bincount(episode, np.where(valid[..., None], absolute, 0.0).sum(axis=(1, 2)), episodes)
        count = np.bincount(episode, valid.sum(axis=1) * float(absolute.shape[2]), episodes)
        return cls(total.astype(np.float64), count.astype(np.float64))

    def chosen(self, rows: NDArray[np.int64]) -> EpisodeErrors:
        """Return the errors of some episodes."""
        return EpisodeErrors(self.total[rows], self.count[rows])

    @property
    def mean(self) -> float:
        """The mean over all steps."""
        return float(self.total.sum() / self.count.sum())

    def means(self, bootstrap: Bootstrap) -> Array:
        """Return the means (R,) of the resamples."""
        return (bootstrap.weights @ self.total) / (bootstrap.weights @ self.count)

    def figures(self, bootstrap: Bootstrap, reference: EpisodeErrors | None = None) -> dict[str, Any]:
        """Return `error` and `ci95`, and with a reference on the same steps `difference` and `difference_ci95`."""
        means = self.means(bootstrap)
        figures = {"error": self.mean, "ci95": bootstrap.interval(means)}
        if reference is None:
            return figures
        return figures | {
            "difference": self.mean - reference.mean,
            "difference_ci95": bootstrap.interval(means - reference.means(bootstrap)),
        }


@dataclass(frozen=True)
class Explained:
    """Sums over predictions of held-out episodes, by episode and dimension, each (E, A).

    Attributes:
        count: number of predictions.
        total: sum of what was to be predicted.
        squares: sum of its squares.
        residual: sum of the squared errors.
    """

    count: Array
    total: Array
    squares: Array
    residual: Array

    def r2(self, weights: Array | None = None) -> Array:
        """Return R^2, the explained share of the variance over all dimensions: (R,) of resamples (R, E), or () of all.

        It is negative where the mean alone would have been nearer, and NaN where nothing varies.
        """
        parts = (self.count, self.total, self.squares, self.residual)
        count, total, squares, residual = (part.sum(axis=0) if weights is None else weights @ part for part in parts)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.maximum(squares - total**2 / count, 0.0).sum(axis=-1)
            return np.where(spread > 1e-9 * squares.sum(axis=-1), 1.0 - residual.sum(axis=-1) / spread, np.nan)


def explained_by(x: Array, y: Array, episode: NDArray[np.int64], episodes: int, seed: int) -> Explained:
    """Measure how well a ridge regression on x (N, D) predicts y (N, A) of episodes that it was not fitted on.

    Every episode is held out once, in one of at most `FOLDS` parts.
    """
    fold_of = np.random.default_rng(seed).permutation(episodes) % min(FOLDS, episodes)
    fold, predicted = fold_of[episode], np.zeros_like(y)
    for part in range(min(FOLDS, episodes)):
        fitted, held_out = fold != part, fold == part
        if not fitted.any():
            continue
        mean_x, mean_y = x[fitted].mean(axis=0), y[fitted].mean(axis=0)
        centred = x[fitted] - mean_x
        covariance = centred.T @ centred / len(centred) + RIDGE * np.eye(x.shape[1])
        slope = np.linalg.solve(covariance, centred.T @ (y[fitted] - mean_y) / len(centred))
        predicted[held_out] = (x[held_out] - mean_x) @ slope + mean_y
    sums: list[Array] = [
        np.stack([np.bincount(episode, column, episodes).astype(np.float64) for column in table.T], axis=1)
        for table in (np.ones_like(y), y, y**2, (y - predicted) ** 2)
    ]
    return Explained(*sums)


def copycat(
    last: Array, expert: Array, policy: Array, episode: NDArray[np.int64], bootstrap: Bootstrap, seed: int
) -> dict[str, Any]:
    """Measure how well the last action predicts the next one of the expert, and that of the policy.

    The next action of a policy that repeats what was done, without knowing why, is predicted better than that of the
    expert whom it imitates (de Haan et al., 2019, "Causal confusion in imitation learning"; Wen et al., 2020, "Fighting
    copycat agents in behavioral cloning from observation histories").

    Args:
        last: (N, A) the actions before the decisions.
        expert: (N, A) the actions that followed.
        policy: (N, A) the actions that the policy chose.
        episode: (N,) the episode of each decision.
        bootstrap: resamples of all episodes.
        seed: from which the parts that are held out are drawn.

    Returns:
        `expert_r2`, `policy_r2` and `excess` (the second minus the first), each with `value` and `ci95`, which are None
        where the actions do not vary; and `decisions`, the number of predictions.
    """
    episodes = bootstrap.weights.shape[1]
    by_whom = {"expert_r2": expert, "policy_r2": policy}
    tables = {name: explained_by(last, y, episode, episodes, seed) for name, y in by_whom.items()}
    values = {name: table.r2() for name, table in tables.items()}
    resampled = {name: table.r2(bootstrap.weights) for name, table in tables.items()}
    values["excess"] = values["policy_r2"] - values["expert_r2"]
    resampled["excess"] = resampled["policy_r2"] - resampled["expert_r2"]
    figures: dict[str, Any] = {}
    for name, value in values.items():
        known = resampled[name][np.isfinite(resampled[name])]
        is_known = bool(np.isfinite(value)) and len(known) > 0
        figures[name] = {
            "value": float(value) if is_known else None,
            "ci95": bootstrap.interval(known) if is_known else None,
        }
    return figures | {"decisions": len(last), "folds": min(FOLDS, episodes), "ridge": RIDGE}
