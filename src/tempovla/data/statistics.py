"""Statistics of streams: of one episode as LeRobot defines them, over many episodes, or exactly over a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.source import EpisodeSource, Statistics

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Statistic = dict[str, NDArray[np.float64]]


def of_values(values: NDArray) -> Statistic:
    """Statistics (*F) of values (N, *F) over their first dimension, quantiles by linear interpolation."""
    wide = np.asarray(values, dtype=np.float64)
    result = {
        "min": wide.min(axis=0),
        "max": wide.max(axis=0),
        "mean": wide.mean(axis=0),
        "std": wide.std(axis=0),
        "count": np.array([len(wide)], dtype=np.float64),
    }
    result.update(zip(QUANTILES, np.quantile(wide, list(QUANTILES.values()), axis=0), strict=True))
    return result


def of_images(images: NDArray[np.uint8]) -> Statistic:
    """Statistics (3, 1, 1) of a camera's frames (N, H, W, 3), brightness as a fraction of 255.

    They follow from the histogram of each channel, which is exact for bytes. As in LeRobot, `count` is the number of
    frames looked at, a subset of a long episode, each thinned out to about 150 pixels when it is large.
    """
    chosen = images[_sampled(len(images))]
    height, width = chosen.shape[1:3]
    if max(height, width) >= 300:
        factor = max(1, (width if width > height else height) // 150)
        chosen = chosen[:, ::factor, ::factor]
    level = np.arange(256) / 255.0
    channels = []
    for channel in range(3):
        histogram = np.bincount(chosen[..., channel].ravel(), minlength=256)
        seen = np.flatnonzero(histogram)
        share = histogram / histogram.sum()
        mean = float(share @ level)
        spread = float(np.sqrt(share @ (level - mean) ** 2))
        at = np.searchsorted(np.cumsum(share), list(QUANTILES.values()))
        channels.append([level[seen[0]], level[seen[-1]], mean, spread, *level[np.minimum(at, 255)]])
    columns = np.array(channels).T[..., None, None]
    result = dict(zip(["min", "max", "mean", "std", *QUANTILES], columns, strict=True))
    result["count"] = np.array([len(chosen)], dtype=np.float64)
    return result


def _sampled(length: int) -> NDArray[np.int64]:
    count = max(min(100, length), min(int(length**0.75), 10_000))
    return np.round(np.linspace(0, length - 1, count)).astype(np.int64)


def aggregate(parts: Sequence[Mapping[str, Mapping[str, NDArray]]]) -> dict[str, Statistic]:
    """Statistics of the union of several parts, e.g. of the episodes of a dataset.

    Means and deviations are exact; quantiles are means of the parts' quantiles weighted by count, as in LeRobot.
    """
    keys = list(dict.fromkeys(key for part in parts for key in part))
    return {key: _merge([part[key] for part in parts if key in part]) for key in keys}


def _merge(parts: Sequence[Mapping[str, NDArray]]) -> Statistic:
    def stacked(name: str) -> NDArray[np.float64]:
        return np.stack([np.asarray(part[name], dtype=np.float64) for part in parts])

    mean, std = stacked("mean"), stacked("std")
    count = stacked("count").reshape(-1)
    weight = (count / count.sum()).reshape(-1, *[1] * (mean.ndim - 1))
    total = (weight * mean).sum(axis=0)
    result = {
        "min": stacked("min").min(axis=0),
        "max": stacked("max").max(axis=0),
        "mean": total,
        "std": np.sqrt((weight * (std**2 + (mean - total) ** 2)).sum(axis=0)),
        "count": np.array([count.sum()]),
    }
    for name in QUANTILES:
        if all(name in part for part in parts):
            result[name] = (weight * stacked(name)).sum(axis=0)
    return result


def compute(source: EpisodeSource, keys: Collection[str], episodes: Collection[int] | None = None) -> Statistics:
    """Exact statistics of some streams, read from the data themselves.

    Args:
        source: where to read.
        keys: streams of numbers (images are best normalised by fixed constants).
        episodes: which episodes, e.g. those of the training split; all by default.
    """
    chosen = range(len(source)) if episodes is None else episodes
    return {
        key: of_values(np.concatenate([source.read(i, key, range(source.episode(i).length)).value for i in chosen]))
        for key in keys
    }
