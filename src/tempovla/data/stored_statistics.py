"""The statistics that a LeRobot dataset stores in ``meta/``, and checks that they are sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.layout import DatasetMeta, Feature
from tempovla.data.parquet import open_parquet, read_rows
from tempovla.data.statistics import NAMES, Statistic, aggregate
from tempovla.storage.json_files import read_json, read_json_lines

NEEDED = ("min", "max", "mean", "std")
"""Statistics that every writer of the format stores."""
REMEDY = "copy it again"


@dataclass(frozen=True)
class StoredStatistics:
    """Stored statistics.

    Attributes:
        streams: sound statistics by stream, each entry in the stream's shape (cameras: (3, 1, 1)).
        faults: by stream that has none, what is wrong with those that are stored; nothing where none are.
    """

    streams: Mapping[str, Statistic]
    faults: Mapping[str, str] = field(default_factory=dict)


def load_statistics(meta: DatasetMeta) -> StoredStatistics:
    """Return statistics of the whole dataset, of ``stats.json`` or, for streams that it does not tell of, of all
    episodes.

    What is not sound is left out: files that are not readable, streams that the dataset does not have, entries that
    are null, NaN, text or of another size, and episodes without a count.
    """
    streams: dict[str, Statistic] = {}
    faults: dict[str, str] = {}
    path = meta.root / "meta" / "stats.json"
    whole = _read_whole(path)
    if isinstance(whole, str):
        faults = dict.fromkeys(meta.features, whole)
    else:
        for key, feature in meta.features.items():
            if key in whole:
                entry = sound_entry(whole[key], feature)
                if isinstance(entry, str):
                    faults[key] = f"{path}: {key!r} {entry}"
                else:
                    streams[key] = entry
    if len(streams) < len(meta.features):
        joined = _of_all_episodes(meta)
        streams |= {key: entry for key, entry in joined.streams.items() if key not in streams}
        faults = dict(joined.faults) | faults
    return StoredStatistics(streams, {key: fault for key, fault in faults.items() if key not in streams})


def episode_statistics(meta: DatasetMeta) -> list[dict[str, Statistic]]:
    """Return sound statistics of every episode, in order, each with a count; nothing of a stream that has none."""
    found, _ = _of_each_episode(meta)
    return [
        {key: entry for key, entry in stats.items() if not isinstance(entry, str) and "count" in entry}
        for stats in (found.get(record.index, {}) for record in meta.episodes)
    ]


def episode_statistics_v30(root: Path, episodes: int) -> list[dict[str, Statistic]]:
    """Return statistics of each of the first `episodes` episodes of a v3.0 dataset that our own writer made.

    Raises:
        DatasetError: if there are none.
    """
    stats = [
        {
            key: {name: np.asarray(value, dtype=np.float64) for name, value in entry.items()}
            for key, entry in row.items()
        }
        for _, row in _rows_v30(root)
    ]
    if not stats or not stats[0]:
        raise DatasetError(f"{root}: no statistics in meta/episodes; its writing cannot be resumed, record it anew")
    return stats[:episodes]


def sound_entry(entry: Any, feature: Feature) -> Statistic | str:
    """Return a stream's stored statistics as arrays of its shape, or a text that says what is wrong with them.

    An extra level of lists is taken off; names that are not of `NAMES` are passed by.
    """
    if not isinstance(entry, Mapping):
        return f"is {_shown(entry)} instead of statistics by name"
    shape = (3, 1, 1) if feature.is_camera else feature.shape
    sound: Statistic = {}
    for name in NAMES:
        if name not in entry:
            continue
        expected = (1,) if name == "count" else shape
        try:
            value = np.asarray(entry[name], dtype=np.float64)
        except (TypeError, ValueError):
            return f"has {name} {_shown(entry[name])}, which is not numbers"
        if _without_ones(value.shape) != _without_ones(expected):
            return f"has {name} of shape {list(value.shape)}, but its values have {list(expected)}"
        if not np.isfinite(value).all():
            return f"has {name} {_shown(entry[name])}, which is not finite"
        sound[name] = value.reshape(expected)
    missing = [name for name in NEEDED if name not in sound]
    if missing:
        return f"has no {missing[0]}"
    if "count" in sound and not sound["count"][0] > 0:
        return f"has count {sound['count'][0]:g}"
    return sound


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _read_whole(path: Path) -> Mapping[str, Any] | str:
    """What ``stats.json`` holds, empty if there is none, or why it cannot be read."""
    if not path.is_file():
        return {}
    try:
        return read_json(path, remedy=REMEDY)
    except ValueError as error:
        return str(error)


Found = dict[int, dict[str, Statistic | str]]
"""By `episode_index` and stream: sound statistics, or what is wrong with them."""


def _of_each_episode(meta: DatasetMeta) -> tuple[Found, str]:
    """What is stored of each episode, and what is wrong with the whole, or ""."""
    path = meta.root / "meta" / "episodes_stats.jsonl"
    if path.is_file():
        try:
            rows = _rows_v21(path)
        except ValueError as error:
            return {}, str(error)
    else:
        rows = _rows_v30(meta.root)
    found: Found = {
        index: {key: sound_entry(stats[key], meta.features[key]) for key in meta.features if key in stats}
        for index, stats in rows
    }
    return found, ""


def _rows_v21(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in read_json_lines(path, remedy=REMEDY):
        index, stats = line.get("episode_index"), line.get("stats")
        if not isinstance(index, int) or not isinstance(stats, Mapping):
            raise ValueError(f"{path}: line {number} has no episode_index or no stats; {REMEDY}")
        rows.append((index, stats))
    return rows


def _rows_v30(root: Path) -> list[tuple[int, Mapping[str, Any]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        with open_parquet(path) as file:
            columns = [name for name in file.schema_arrow.names if name.startswith("stats/") and name.count("/") > 1]
        for row in read_rows(path, ["episode_index", *columns]):
            index, entry = row.pop("episode_index"), dict[str, dict[str, Any]]()
            for column, value in row.items():
                key, name = column.removeprefix("stats/").rsplit("/", 1)
                entry.setdefault(key, {})[name] = value
            rows.append((index, entry))
    return rows


def _of_all_episodes(meta: DatasetMeta) -> StoredStatistics:
    """The statistics of all episodes in one; of a stream only where every episode has sound ones."""
    found, fault = _of_each_episode(meta)
    if fault:
        return StoredStatistics({}, dict.fromkeys(meta.features, fault))
    if not found:
        return StoredStatistics({})
    streams: dict[str, Statistic] = {}
    faults: dict[str, str] = {}
    places = [record.index for record in meta.episodes if record.length]
    for key in meta.features:
        entries = {index: found.get(index, {}).get(key) for index in places}
        if not any(entries.values()):
            continue
        for index, entry in entries.items():
            problem = "has none" if entry is None else entry if isinstance(entry, str) else ""
            if not problem and "count" not in entry:  # type: ignore[operator]
                problem = "has no count"
            if problem:
                faults[key] = f"{meta.root}: of the episodes' statistics in meta/, {key!r} of episode {index} {problem}"
                break
        else:
            parts: list[Mapping[str, NDArray]] = [entry for entry in entries.values() if isinstance(entry, Mapping)]
            streams[key] = aggregate([{key: part} for part in parts])[key]
    return StoredStatistics(streams, faults)
