"""Errors of a world model's open-loop predictions by horizon, beside those of simple baselines.

From each start the model has seen what came before. It then imagines what the recorded actions lead to, and sees
nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.data.errors import unknown_stream
from tempovla.data.loader import read_windows
from tempovla.data.mixture import Mixture
from tempovla.recipe.progress import CountProgress
from tempovla.rollout.metrics import Bootstrap
from tempovla.timeline import (
    Context,
    EpisodeSource,
    PredictingPolicy,
    Prediction,
    StridedPolicy,
    TimelineSample,
    Window,
)
from tempovla.timeline.keys import is_outcome
from tempovla.transform.align import AlignStreams
from tempovla.transform.join import JoinStreams
from tempovla.transform.pipeline import TransformPipeline

Array = NDArray[np.float64]

DEFAULT_HORIZON = 15
"""Control steps that are looked ahead where nothing else is asked for and episodes are long enough."""
MOST_STARTS = 300
"""Starts are spread such that there are at most about so many."""
MOST_ROWS = 16
"""Starts that are imagined at a time: each has many pictures."""
RESAMPLES, SEED = 1000, 0
"""Of the bootstrap over episodes."""


@dataclass(frozen=True)
class Starts:
    """Moments from which the model predicts.

    Attributes:
        episodes: (N,) the episode of each.
        steps: (N,) its control step.
        every: control steps from one start of an episode to the next.
        stride: control steps from one imagined step to the next.
        horizon: control steps to the last one.
    """

    episodes: NDArray[np.int64]
    steps: NDArray[np.int64]
    every: int
    stride: int
    horizon: int

    @property
    def horizons(self) -> list[int]:
        """Control steps to each imagined step."""
        return list(range(self.stride, self.horizon + 1, self.stride))


def choose_starts(
    source: EpisodeSource, episodes: Sequence[int], stride: int, horizon: int | None, decision: int = 1
) -> Starts:
    """Return starts that are spread over the episodes; each has at least one step to predict.

    Args:
        source: the dataset.
        episodes: of it.
        stride: control steps from one imagined step to the next.
        horizon: control steps to look ahead; None takes `DEFAULT_HORIZON`, or fewer where all episodes are shorter.
        decision: control steps from one decision of the policy to the next; starts are at its multiples.

    Raises:
        ValueError: if no episode is long enough, or the horizon is no multiple of the stride.
    """
    lengths = {episode: source.episode(episode).length for episode in episodes}
    longest = max(lengths.values())
    most = (longest - 1) // stride * stride
    if most < 1:
        raise ValueError(
            f"{source.name}: its longest episode has {longest} control steps, but a prediction of this policy takes "
            f"{stride + 1}; name a dataset with longer episodes with data=FOLDER"
        )
    if horizon is None:
        horizon = min(max(DEFAULT_HORIZON // stride * stride, stride), most)
    if horizon % stride:
        less, more = horizon // stride * stride, (horizon // stride + 1) * stride
        raise ValueError(
            f"horizon={horizon} is no multiple of {stride}, the control steps from one prediction of this policy to "
            f"the next; use horizon={less or more}"
        )
    if horizon > most:
        raise ValueError(
            f"horizon={horizon} is longer than every episode of {source.name}, the longest of which has {longest} "
            f"control steps; use horizon={most} or fewer"
        )
    most_starts = sum(max(length - stride, 0) for length in lengths.values())
    every = decision * max(1, -(-most_starts // (decision * MOST_STARTS)))
    own = {episode: np.arange(0, max(length - stride, 0), every) for episode, length in lengths.items()}
    numbers = np.repeat(np.array(list(own), np.int64), [len(steps) for steps in own.values()])
    return Starts(numbers, np.concatenate(list(own.values())).astype(np.int64), every, stride, horizon)


class Predictor:
    """Reads starts of a dataset, and lets a policy predict from them.

    Args:
        policy: in evaluation mode.
        transform: of its observations.
        source: the dataset.
        horizon: control steps to look ahead.
        device: of the policy.

    Raises:
        ValueError: if the dataset lacks a stream that the policy reads.
    """

    def __init__(
        self,
        policy: PredictingPolicy,
        transform: TransformPipeline,
        source: EpisodeSource,
        horizon: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.policy, self.transform, self.source, self.device = policy, transform, source, device
        windows = raw_windows(transform, policy.prediction_windows(horizon))
        for window in windows:
            if window.key not in source.streams and not is_outcome(window.key):
                raise unknown_stream(window.key, source.streams, source.name)
        self.windows = tuple(window for window in windows if window.key in source.streams)

    @torch.inference_mode()
    def predict(self, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> tuple[Context, dict[str, Prediction]]:
        """Return what was seen at starts (B,), prepared for the policy, and its predictions by stream."""
        context, future = read_windows(self.source, self.windows, episodes, steps)
        seed = torch.zeros(len(steps), dtype=torch.int64)
        raw = TimelineSample(context, future, seed).to(self.device)
        sample = self.transform.forward_sample(raw)
        return sample.context, dict(self.policy.predict(sample))


def raw_windows(transform: TransformPipeline, windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return windows on what a policy reads as windows on raw observations."""
    for step in reversed(transform.steps):
        if isinstance(step, AlignStreams | JoinStreams):
            windows = step.own_windows(windows)
    return tuple(windows)


def lacking_streams(transform: TransformPipeline, policy: PredictingPolicy) -> list[str]:
    """Return the streams that a policy reads and the body of this dataset does not have."""
    read = {window.key for window in policy.prediction_windows(policy.prediction_stride)}
    absent = {key for step in transform.steps if isinstance(step, AlignStreams) for key in step.missing}
    return sorted(read & absent)


@dataclass
class StreamErrors:
    """Squared errors of one stream, start by start.

    Attributes:
        kind: of the stream, as in `Prediction`.
        model: parts (B, P) of the model's errors, each the mean over all numbers of a value.
        valid: (B, P) whether they count.
        baselines: by name, the same of a baseline, and whether it is known.
        target: (B, P) what was to be predicted, of rewards alone.
    """

    kind: str
    model: list[Tensor] = field(default_factory=list)
    valid: list[Tensor] = field(default_factory=list)
    baselines: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    target: list[Tensor] = field(default_factory=list)

    def add(self, prediction: Prediction) -> None:
        """Take in the predictions of some starts."""
        target, valid = prediction.target.double(), prediction.valid
        now, before = prediction.now.double()[:, None], prediction.before.double()[:, None]
        steps = torch.arange(1, target.shape[1] + 1, device=target.device, dtype=torch.float64)
        ahead = steps.view(1, -1, *[1] * (target.dim() - 2))

        def error(value: Tensor) -> Tensor:
            return (value - target).square().flatten(1).unflatten(1, (target.shape[1], -1)).mean(dim=2).cpu()

        def told(name: str, value: Tensor, known: Tensor) -> None:
            self.baselines.setdefault(name, []).append((error(value), (valid & known[:, None]).cpu()))

        self.model.append(error(prediction.value.double()))
        self.valid.append(valid.cpu())
        if prediction.kind == "reward":
            told("last", now.expand_as(target), prediction.has_now)
            self.target.append(target.cpu())
            return
        told("copy", now.expand_as(target), prediction.has_now)
        told("linear", now + ahead * (now - before), prediction.has_now & prediction.has_before)

    def of_mean(self) -> tuple[Tensor, Tensor]:
        """Return the errors (N, P) of always giving the mean of all targets, and whether they count."""
        target, valid = torch.cat(self.target), torch.cat(self.valid)
        mean = target[valid].mean() if bool(valid.any()) else torch.zeros((), dtype=target.dtype)
        return (target - mean).square(), valid

    def figures(self, episode: NDArray[np.int64], bootstrap: Bootstrap | None) -> dict[str, Any]:
        """Return means by horizon, with intervals where there is a bootstrap.

        Args:
            episode: (N,) number of the episode of each start, from 0 on.
            bootstrap: over these episodes.
        """
        model, valid = torch.cat(self.model), torch.cat(self.valid)
        own = Sums.of(model, valid, episode)
        baselines = {
            name: tuple(torch.cat(each) for each in zip(*parts, strict=True)) for name, parts in self.baselines.items()
        }
        if self.kind == "reward":
            baselines["mean"] = self.of_mean()
        return {
            "kind": self.kind,
            "steps": own.counts,
            "mse": told_numbers(own.mean()),
            "mse_ci95": intervals(own, None, bootstrap),
            "baselines": {
                name: _beside(Sums.of(model, known, episode), Sums.of(error, known, episode), bootstrap)
                for name, (error, known) in baselines.items()
            },
        }


@dataclass(frozen=True)
class Sums:
    """Sums of errors by episode and horizon, each (E, P), and how many were added."""

    total: Array
    count: Array

    @classmethod
    def of(cls, error: Tensor, valid: Tensor, episode: NDArray[np.int64]) -> Sums:
        """Sum errors (N, P) where they are valid, by the number of the episode (N,)."""
        counted = valid.numpy()
        parts = (np.where(counted, error.numpy(), 0.0), counted.astype(np.float64))
        sums = [np.zeros((int(episode.max()) + 1, counted.shape[1])) for _ in parts]
        for whole, part in zip(sums, parts, strict=True):
            np.add.at(whole, episode, part)
        return cls(*sums)

    @property
    def counts(self) -> list[int]:
        """How many starts count, by horizon."""
        return [int(count) for count in self.count.sum(axis=0)]

    def mean(self, weights: Array | None = None) -> Array:
        """Return the means (P,), or those (R, P) of resamples (R, E); NaN where nothing counts."""
        total, count = (x.sum(axis=0) if weights is None else weights @ x for x in (self.total, self.count))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, total / count, np.nan)


def _beside(model: Sums, baseline: Sums, bootstrap: Bootstrap | None) -> dict[str, Any]:
    """The figures of a baseline, and the model's error divided by its error on the same steps."""
    return {
        "steps": baseline.counts,
        "mse": told_numbers(baseline.mean()),
        "mse_ci95": intervals(baseline, None, bootstrap),
        "ratio": told_numbers(_ratio(model.mean(), baseline.mean())),
        "ratio_ci95": intervals(model, baseline, bootstrap),
    }


def _ratio(one: Array, other: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(other > 0, one / other, np.nan)


def told_numbers(values: Array) -> list[float | None]:
    """Return numbers for JSON, None for those that are unknown."""
    return [float(value) if np.isfinite(value) else None for value in values]


def intervals(one: Sums, other: Sums | None, bootstrap: Bootstrap | None) -> list[list[float] | None]:
    """Return the 95% interval of a mean, or of the ratio of two, by horizon; None where it is unknown."""
    if bootstrap is None:
        return [None] * one.total.shape[1]
    values = one.mean(bootstrap.weights)
    if other is not None:
        values = _ratio(values, other.mean(bootstrap.weights))
    known = [column[np.isfinite(column)] for column in values.T]
    return [bootstrap.interval(column) if len(column) else None for column in known]


def measure_predictions(
    policy: PredictingPolicy,
    transform: TransformPipeline,
    mixture: Mixture,
    where: str,
    *,
    horizon: int | None = None,
    videos: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Predict from starts that are spread over the episodes, and compare with what then came.

    Args:
        policy: in evaluation mode.
        transform: of its observations.
        mixture: the episodes, of one source.
        where: the checkpoint, for messages.
        horizon: control steps to look ahead; see `choose_starts`.
        videos: folder for videos of some predictions, where pictures are decoded.
        device: of the policy.

    Returns:
        `horizons` [control steps], `stride`, `every`, `starts`, `episodes`, `resamples`, and `streams`: by name the
        `kind`, the number of `steps` that count, `mse` and `mse_ci95` by horizon, and `baselines` with the same and
        with `ratio`, the model's error divided by the baseline's; with `videos` their number, `videos`.

    Raises:
        ValueError: if the dataset does not fit, or the predictions are not finite.
    """
    source = mixture.sources[0]
    chosen = np.unique(mixture.locate(0, np.arange(mixture.lengths[0]))[0])
    decision = (policy.frame_stride if isinstance(policy, StridedPolicy) else None) or 1
    starts = choose_starts(source, chosen.tolist(), policy.prediction_stride, horizon, decision)
    predictor = Predictor(policy, transform, source, starts.horizon, device)
    errors: dict[str, StreamErrors] = {}
    with CountProgress("prediction starts", len(starts.steps)) as progress:
        for begin in range(0, len(starts.steps), MOST_ROWS):
            rows = slice(begin, begin + MOST_ROWS)
            predictions = predictor.predict(starts.episodes[rows], starts.steps[rows])[1]
            for key, prediction in predictions.items():
                errors.setdefault(key, StreamErrors(prediction.kind)).add(prediction)
            progress.advance(len(starts.steps[rows]))
    _check_finite(errors, where)
    used, number = np.unique(starts.episodes, return_inverse=True)
    bootstrap = Bootstrap.draw(len(used), RESAMPLES, SEED) if len(used) > 1 else None
    figures: dict[str, Any] = {
        "horizons": starts.horizons,
        "stride": starts.stride,
        "every": starts.every,
        "starts": len(starts.steps),
        "episodes": len(used),
        "resamples": RESAMPLES,
        "streams": {key: each.figures(number, bootstrap) for key, each in errors.items()},
    }
    if videos is not None:
        from tempovla.recipe.evaluation.prediction_videos import film_predictions

        figures["videos"] = film_predictions(predictor, starts, Path(videos))
    return figures


def _check_finite(errors: dict[str, StreamErrors], where: str) -> None:
    for key, each in errors.items():
        if not torch.isfinite(torch.cat(each.model)[torch.cat(each.valid)]).all():
            raise ValueError(
                f"{where}: predicts {key} that is not finite; give a shorter horizon, or an earlier checkpoint of the "
                "run"
            )
