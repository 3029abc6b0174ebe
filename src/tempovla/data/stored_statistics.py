"""The statistics that a LeRobot dataset brings with it, in ``meta/``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.data.errors import DatasetError
from tempovla.data.layout import DatasetMeta
from tempovla.data.parquet import open_parquet, read_columns
from tempovla.data.statistics import Statistic
from tempovla.timeline.json_files import read_json, read_json_lines


def load_statistics(meta: DatasetMeta) -> list[dict[str, Statistic]]:
    """Statistics as stored: those of the whole dataset (one entry) or, where there are none, of every episode.

    Raises:
        DatasetError: if the dataset has neither.
    """
    whole = meta.root / "meta" / "stats.json"
    if whole.is_file():
        return [_to_arrays(read_json(whole, remedy="copy it again", error=DatasetError))]
    if meta.version == "v2.1":
        return [_to_arrays(line["stats"]) for line in _episode_lines(meta.root)]
    return episode_statistics_v30(meta.root, len(meta.episodes))


def episode_statistics_v30(root: Path, episodes: int) -> list[dict[str, Statistic]]:
    """Statistics of each of the first `episodes` episodes of a v3.0 dataset."""
    stats: list[dict[str, Statistic]] = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        with open_parquet(path) as file:
            columns = [name for name in file.schema_arrow.names if name.startswith("stats/")]
        for row in read_columns(path, columns).to_pylist():
            entry: dict[str, Statistic] = {}
            for column, value in row.items():
                key, name = column.removeprefix("stats/").rsplit("/", 1)
                entry.setdefault(key, {})[name] = np.asarray(value, dtype=np.float64)
            stats.append(entry)
    if not stats or not stats[0]:
        raise DatasetError(f"{root}: no statistics in meta/ (stats.json is missing); compute them with LeRobot")
    return stats[:episodes]


def _episode_lines(root: Path) -> list[dict[str, Any]]:
    path = root / "meta" / "episodes_stats.jsonl"
    if not path.is_file():
        raise DatasetError(f"{path}: missing; copy the dataset again, its meta/ folder is incomplete")
    lines = read_json_lines(path, remedy="copy it again", error=DatasetError)
    for number, line in lines:
        if "stats" not in line:
            raise DatasetError(f"{path}: line {number} has no 'stats'; copy it again")
    return [line for _, line in lines]


def _to_arrays(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Statistic]:
    return {
        key: {name: np.asarray(value, dtype=np.float64) for name, value in entry.items()}
        for key, entry in stats.items()
    }
