"""Statistics of streams: of one episode as LeRobot defines them, over many episodes, or exactly over a source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.timeline.source import EpisodeSource

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
MAX_HELD_BYTES = 512 << 20
"""How much of the values exact statistics hold in memory at once [bytes]."""

Statistic = dict[str, NDArray[np.float64]]


def of_values(values: NDArray) -> Statistic:
    """Return statistics (*F) of values (N, *F) over their first dimension, quantiles by linear interpolation."""
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
    """Return statistics (3, 1, 1) of a camera's frames (N, H, W, 3), brightness as a fraction of 255.

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
    """Return statistics of the union of several parts, e.g. of the episodes of a dataset.

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


Progress = Callable[[int], AbstractContextManager[Callable[[], None]]]
"""Of how many readings of an episode a work consists: gives a context within which each is reported by a call."""


@contextmanager
def unwatched(total: int) -> Iterator[Callable[[], None]]:
    """A `Progress` that shows nothing."""
    yield lambda: None


def compute(
    source: EpisodeSource,
    keys: Collection[str],
    episodes: Collection[int] | None = None,
    progress: Progress = unwatched,
) -> dict[str, Statistic]:
    """Return exact statistics of some streams in float64, quantiles included, read from the data themselves.

    The data are read once. Only where they are larger than `MAX_HELD_BYTES` are they read several times, some
    dimensions at a time, as exact quantiles need all values of a dimension at once.

    Args:
        source: where to read.
        keys: streams of numbers (images are best normalised by fixed constants).
        episodes: which episodes, e.g. those of the training split; all by default.
        progress: called after every episode that was read.

    Raises:
        DatasetError: if there is no value, or one that is not finite.
    """
    chosen = [i for i in (range(len(source)) if episodes is None else episodes) if source.episode(i).length]
    rows = sum(source.episode(i).length for i in chosen)
    if not rows:
        raise DatasetError(f"{source.name}: has no row to compute statistics from; record an episode first")
    columns: dict[str, list[Statistic]] = {key: [] for key in keys}
    rounds = _rounds(source, keys, rows)
    with progress(len(rounds) * len(chosen)) as advance:
        for parts in rounds:
            for key, values in _read(source, parts, chosen, rows, advance):
                columns[key] += [of_values(column) for column in values.T]
    return {key: _stacked(columns[key], source.streams[key].shape) for key in keys}


Parts = list[tuple[str, int, int]]
"""Streams, each with the first of its dimensions and the one after the last, counted in the flattened value."""


def _rounds(source: EpisodeSource, keys: Collection[str], rows: int) -> list[Parts]:
    """What is read in each round, so that it fits in memory."""
    rounds: list[Parts] = [[]]
    left = MAX_HELD_BYTES
    for key in keys:
        size = int(np.prod(source.streams[key].shape))
        one = rows * np.dtype(source.streams[key].dtype).itemsize
        first = 0
        while first < size:
            if one > left and rounds[-1]:
                rounds.append([])
                left = MAX_HELD_BYTES
            count = min(size - first, max(1, left // one))
            rounds[-1].append((key, first, first + count))
            first, left = first + count, left - count * one
    return rounds


def _read(
    source: EpisodeSource, parts: Parts, episodes: Collection[int], rows: int, advance: Callable[[], None]
) -> list[tuple[str, NDArray]]:
    """Values (N, dimensions) of each part, without those that are not valid."""
    held = [(key, np.empty((rows, stop - first), dtype=source.streams[key].dtype)) for key, first, stop in parts]
    filled = [0] * len(parts)
    for episode in episodes:
        steps = range(source.episode(episode).length)
        read = {key: source.read(episode, key, steps) for key in {key for key, _, _ in parts}}
        for place, (key, first, stop) in enumerate(parts):
            value = read[key].value[read[key].valid].reshape(-1, int(np.prod(source.streams[key].shape)))
            held[place][1][filled[place] : filled[place] + len(value)] = value[:, first:stop]
            filled[place] += len(value)
        advance()
    return [(key, values[:count]) for (key, values), count in zip(held, filled, strict=True)]


def _stacked(columns: Sequence[Statistic], shape: tuple[int, ...]) -> Statistic:
    """Statistics of the dimensions of a stream, one after the other, as those of its values."""
    joined = {name: np.stack([column[name] for column in columns]).reshape(shape) for name in NAMES if name != "count"}
    return joined | {"count": columns[0]["count"]}
