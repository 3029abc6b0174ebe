"""Plausibility of a dataset's stored statistics, compared with its rows.

Rows are compared as normalisation would see them, in deviations from the mean or in half ranges from the middle. Where
all rows are read, the comparison is exact. Of a sample it follows from the variance: rows that are a share f of all
cannot lie further than std / sqrt(f) from the mean, taken together, whatever the other rows are; a few spikes, or few
episodes, raise no alarm.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.statistics import Statistic
from tempovla.data.window import read_part
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeSource

SAMPLED_EPISODES = 200
SAMPLED_ROWS = 200_000
FAR = 3.0
"""From how many deviations, or ranges, on rows that should be near 0 are not to be trained on."""
NEAR = 0.05
"""Up to how many deviations statistics may be off without a word."""
ROUNDING = 5e-4
"""Share of a value's magnitude that foreign tools lose, e.g. by a standard deviation from squares in float32."""


@dataclass(frozen=True)
class Finding:
    """One stream's statistics that do not fit its rows.

    Attributes:
        key: the stream.
        text: what is stored and what was seen, in a line that names the dimension, and the command that mends it.
        refused: whether a policy must not be trained with them; else they are only slightly stale.
    """

    key: str
    text: str
    refused: bool


Parts = Mapping[str, Sequence[StreamPart]]
"""By stream of vectors, the dimensions that matter; all of a stream that is not named."""


def findings(
    source: EpisodeSource,
    stored: Mapping[str, Statistic],
    needed: Mapping[str, Collection[str]],
    parts: Parts | None = None,
) -> list[Finding]:
    """Return problems of stored statistics, at most one a stream: the worst.

    Args:
        source: reads the rows, up to `SAMPLED_EPISODES` episodes spread evenly, whole ones until `SAMPLED_ROWS`.
        stored: sound statistics by stream, in its shape.
        needed: by stream, the statistics that will be used; doubts about others are no more than a warning.
        parts: the dimensions that are looked at, where not all.

    Raises:
        DatasetError: if a stream has values that are not finite.
    """
    found = []
    for key, entry in stored.items():
        chosen = _dimensions(source, key, (parts or {}).get(key))
        flat = {name: value.reshape(-1) for name, value in entry.items()}
        flat |= {name: value[chosen] for name, value in flat.items() if name != "count"}
        names = tuple(needed[key])
        with np.errstate(over="ignore"):  # a range of 1e308 is found wrong when its double is infinite, too
            dubious = [_contradiction(flat)]
            if dubious[0] is None:
                rows = _Sample.of(source, key, (parts or {}).get(key))
                dubious = [check(flat, rows, names) for check in (_moments, _range)]
        doubts = sorted((doubt for doubt in dubious if doubt is not None), key=lambda doubt: not doubt.refused)
        if doubts:
            doubt = doubts[0]
            dimension = int(chosen[doubt.dimension])
            text = f"{source.name}: the stored statistics of {key!r} do not fit the data: dimension {dimension}"
            text += f"{_named(source, key, dimension)} "
            found.append(Finding(key, f"{text}{doubt.text}; {_remedy(source, key)}", doubt.refused))
    return found


@dataclass(frozen=True)
class _Doubt:
    """What is wrong with one dimension."""

    dimension: int
    text: str
    refused: bool


@dataclass(frozen=True)
class _Sample:
    """Rows (N, D) in float64, the episode (N,) of each, and which share of all rows they are."""

    rows: NDArray[np.float64]
    episode: NDArray[np.int64]
    share: float

    @classmethod
    def of(cls, source: EpisodeSource, key: str, parts: Sequence[StreamPart] | None = None) -> _Sample:
        """Return whole episodes, spread evenly; of some parts where not all matter."""
        lengths = np.array([source.episode(i).length for i in range(len(source))])
        count = min(len(lengths), SAMPLED_EPISODES)
        if lengths.sum() > SAMPLED_ROWS:
            count = min(count, max(1, int(SAMPLED_ROWS / max(1.0, float(lengths.mean())))))
        chosen = np.unique(np.round(np.linspace(0, len(lengths) - 1, count)).astype(int)).tolist()
        rows = [_episode_rows(source, i, key, parts, int(lengths[i])) for i in chosen if lengths[i]]
        episode = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        joined = np.concatenate(rows).astype(np.float64)
        return cls(joined, episode, len(joined) / max(1, int(lengths.sum())))

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows."""
        return self.share >= 1.0

    def mean_error(self) -> NDArray[np.float64]:
        """Return (D,) how far the mean of all rows may well lie from this one's: the standard error over episodes."""
        count = int(self.episode[-1]) + 1
        if self.is_whole:
            return np.zeros(self.rows.shape[1])
        if count < 8:
            return np.full(self.rows.shape[1], np.inf)
        means = np.stack([self.rows[self.episode == i].mean(axis=0) for i in range(count)])
        return means.std(axis=0, ddof=1) / np.sqrt(count)


def _dimensions(source: EpisodeSource, key: str, parts: Sequence[StreamPart] | None) -> NDArray[np.int64]:
    """Numbers of the dimensions that are looked at; of a camera, of its channels."""
    if parts is not None:
        return np.concatenate([np.arange(part.start, part.stop) for part in parts])
    stream = source.streams[key]
    return np.arange(3 if stream.kind == "image" else int(np.prod(stream.shape)))


def _episode_rows(
    source: EpisodeSource, episode: int, key: str, parts: Sequence[StreamPart] | None, length: int
) -> NDArray:
    """(length, D) values of an episode."""
    if parts is None:
        return source.read(episode, key, range(length)).value.reshape(length, -1)
    steps = np.arange(length)[None]
    return np.concatenate([read_part(source, part, np.array([episode]), steps).value[0] for part in parts], axis=-1)


def contradiction(entry: Statistic) -> str | None:
    """In words, what no values have of one stream's `min`, `max`, `mean`, `std` and percentiles; None if they may."""
    with np.errstate(over="ignore"):
        doubt = _contradiction({name: value.reshape(-1) for name, value in entry.items()})
    return None if doubt is None else f"{doubt.text} in dimension {doubt.dimension}"


def _contradiction(flat: Statistic) -> _Doubt | None:
    """Statistics that no values have."""
    low, high, mean, std = (flat[name] for name in ("min", "max", "mean", "std"))
    slack = ROUNDING * np.maximum(np.abs(low), np.abs(high)) + 1e-9
    checks: list[tuple[str, NDArray[np.bool_]]] = [
        ("min {min:.6g} above max {max:.6g}", low > high + slack),
        ("mean {mean:.6g} outside of min {min:.6g} and max {max:.6g}", (mean < low - slack) | (mean > high + slack)),
        ("std {std:.6g}, which is negative", std < 0),
        ("std {std:.6g}, more than min {min:.6g} and max {max:.6g} allow", std > 0.75 * (high - low) + slack),
    ]
    quantiles = [name for name in ("q01", "q10", "q50", "q90", "q99") if name in flat]
    ladder = ["min", *quantiles, "max"]
    for before, after in pairwise(ladder):
        checks.append((f"{before} {{{before}:.6g}} above {after} {{{after}:.6g}}", flat[before] > flat[after] + slack))
    for text, wrong in checks:
        if wrong.any():
            d = int(np.argmax(wrong))
            return _Doubt(
                d, "has " + text.format(**{name: float(v[d]) for name, v in flat.items() if len(v) > d}), True
            )
    return None


def _moments(flat: Statistic, sample: _Sample, needed: Collection[str]) -> _Doubt | None:
    """Mean and deviation, which every row has a part in."""
    mean, std = flat["mean"], flat["std"]
    seen_mean, seen_std = sample.rows.mean(axis=0), sample.rows.std(axis=0)
    slack = ROUNDING * np.maximum(np.abs(seen_mean), np.abs(mean)) + 1e-9
    unit = std + slack
    off = np.abs(seen_mean - mean)
    around = np.sqrt(((sample.rows - mean) ** 2).mean(axis=0))  # would be std, were these all rows and the mean theirs
    impossible = around > (std * (1 + NEAR)) / np.sqrt(sample.share) + 2 * slack
    unlikely = off > 10 * sample.mean_error() + NEAR * unit + 2 * slack
    fewer = 1 / len(sample.rows)  # some divide by one row fewer
    shrunk = sample.is_whole & (seen_std + 2 * slack < std * (1 - NEAR - fewer))
    wrong = impossible | unlikely | shrunk
    if not wrong.any():
        return None
    far = (off > FAR * unit) | (around > FAR * unit) | (shrunk & (seen_std + slack < std / FAR))
    refused = wrong & far & ("mean" in needed or "std" in needed)
    d = int(np.argmax(np.where(refused if refused.any() else wrong, np.maximum(off, around) / unit, -1.0)))
    text = (
        f"has mean {mean[d]:.6g} and std {std[d]:.6g} in meta/, but {_rows(sample)} have mean {seen_mean[d]:.6g} and "
        f"std {seen_std[d]:.6g}"
    )
    return _Doubt(d, text, bool(refused[d]))


def _range(flat: Statistic, sample: _Sample, needed: Collection[str]) -> _Doubt | None:
    """Minimum and maximum, beyond which there is no row, not even one."""
    low, high = flat["min"], flat["max"]
    seen_low, seen_high = sample.rows.min(axis=0), sample.rows.max(axis=0)
    slack = ROUNDING * np.maximum(np.abs(seen_low), np.abs(seen_high)) + 1e-9
    beyond = np.maximum(low - seen_low, seen_high - high)
    wrong = beyond > NEAR * (high - low) + slack
    if sample.is_whole:  # a range that is never filled makes all values small
        wrong |= (seen_high - seen_low) + 2 * slack < (high - low) / FAR
    if not wrong.any():
        return None
    worst = np.maximum(beyond / (high - low + slack), (high - low) / (seen_high - seen_low + slack) / 2)
    d = int(np.argmax(np.where(wrong, worst, -1.0)))
    refused = bool(worst[d] > FAR / 2) and ("min" in needed or "max" in needed)
    text = (
        f"has min {low[d]:.6g} and max {high[d]:.6g} in meta/, but {_rows(sample)} lie between {seen_low[d]:.6g} and "
        f"{seen_high[d]:.6g}"
    )
    return _Doubt(d, text, refused)


def loose_quantiles(
    source: EpisodeSource, key: str, stored: Statistic, parts: Sequence[StreamPart] | None = None
) -> str | None:
    """In a line, that too many rows lie beyond a stream's stored 1st and 99th percentile, None if they do not.

    LeRobot's are the means of its episodes' percentiles: they may be far from those of all rows.

    Raises:
        DatasetError: if the stream has values that are not finite.
    """
    chosen = _dimensions(source, key, parts)
    low, high = stored["q01"].reshape(-1)[chosen], stored["q99"].reshape(-1)[chosen]
    sample = _Sample.of(source, key, parts)
    slack = ROUNDING * np.maximum(np.abs(low), np.abs(high)) + 1e-9
    outside = ((sample.rows < low - slack) | (sample.rows > high + slack)).mean(axis=0)
    seen_low, seen_high = np.quantile(sample.rows, [0.01, 0.99], axis=0)
    unfilled = sample.is_whole & ((seen_high - seen_low) * FAR + 2 * slack < high - low)
    wrong = (outside > 0.1) | unfilled
    if not wrong.any():
        return None
    d = int(np.argmax(np.where(wrong, outside, -1.0)))
    dimension = int(chosen[d])
    return (
        f"{source.name}: the stored 1st and 99th percentile of {key!r} dimension {dimension}"
        f"{_named(source, key, dimension)} are {low[d]:.6g} and {high[d]:.6g}, those of {_rows(sample)} "
        f"{seen_low[d]:.6g} and {seen_high[d]:.6g}"
    )


def _named(source: EpisodeSource, key: str, dimension: int) -> str:
    names = source.streams[key].names
    return f" ({names[dimension]})" if dimension < len(names) else ""


def _rows(sample: _Sample) -> str:
    return f"its {len(sample.rows)} rows" if sample.is_whole else f"{len(sample.rows)} rows of a sample"


def _remedy(source: EpisodeSource, key: str) -> str:
    """The command that computes a stream's statistics anew; it must be named where it is called neither a state nor an
    action.
    """
    named = "" if source.streams[key].kind in ("state", "action") else f" --keys {shlex.quote(key)}"
    return f"compute them anew with `tempovla data stats {shlex.quote(source.name)} --recompute{named}`"


def statistics_problems(source: EpisodeSource, keys: Collection[str] | None = None) -> list[str]:
    """Return why training would refuse a dataset's statistics, a line each with the command that mends it.

    Args:
        source: any dataset; only one that brings statistics can have wrong ones.
        keys: the streams to look at; None takes the state and the action. Streams with values that are not finite,
            or do not fit their declaration, are passed by: they are found by what reads them.
    """
    statistics = source.statistics
    look = getattr(statistics, "findings", None)
    if look is None:
        return []
    chosen = keys
    if chosen is None:
        chosen = [key for key in (STATE_KEY, ACTION_KEY) if key in source.streams]
    problems = []
    for key in chosen:
        try:
            found = look({key: ("mean", "std", "min", "max")})
        except DatasetError:
            continue
        problems += [finding.text for finding in found if finding.refused]
    return problems
