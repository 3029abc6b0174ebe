"""Metadata of LeRobot datasets, v2.0 and v2.1 (a file an episode) and v3.0 (files of many episodes)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tempovla.data.availability import is_encoded, leaf_type
from tempovla.data.calibrations import read_cameras
from tempovla.data.declared import parse_features
from tempovla.data.errors import DatasetError
from tempovla.data.layout import (
    RECORDING_PATH,
    DatasetMeta,
    EpisodeRecord,
    Feature,
    VideoSpan,
    read_info,
)
from tempovla.data.numbers import count
from tempovla.data.numbers import number as finite_number
from tempovla.data.parquet import open_parquet, read_rows
from tempovla.data.tasks import task_map, tasks_of_episode
from tempovla.data.templates import Templates
from tempovla.storage.json_files import read_json, read_json_lines, visible
from tempovla.storage.paths import Inside

LOGGER = logging.getLogger(__name__)

_PANDAS_INDEX = "__index_level_0__"
_SPAN_CELLS = ("chunk_index", "file_index", "from_timestamp")
"""Fields of an episode's entry about a camera's video (v3.0)."""


def load_meta(root: str | Path) -> DatasetMeta:
    """Read the metadata of a dataset of either version.

    Raises:
        DatasetError: if `root` is no dataset, its version is not known, or its metadata contradict themselves.
    """
    folder = Path(root)
    info = read_info(folder)
    path = folder / "meta" / "info.json"
    features, left_out = parse_features(info, path)
    left_out |= _unplaced_videos(folder, info, features)
    features = {key: feature for key, feature in features.items() if key not in left_out}
    version = info["codebase_version"]
    if version == "v3.0":
        (episodes, misplaced), tasks = _episodes_v30(folder, info, features), _tasks_v30(folder)
        left_out |= misplaced
        features = {key: feature for key, feature in features.items() if key not in misplaced}
    else:
        episodes, tasks = _episodes_v21(folder, info, features), _tasks_v21(folder)
    if len(episodes) != info["total_episodes"]:
        raise DatasetError(
            f"{path}: total_episodes is {info['total_episodes']}, but meta/ describes {len(episodes)}; correct it, or "
            "copy meta/ again"
        )
    frames = sum(record.length for record in episodes)
    if frames != info["total_frames"]:
        raise DatasetError(
            f"{path}: total_frames is {info['total_frames']}, but the episodes have {frames} in all; correct it, or "
            "copy meta/ again"
        )
    robot = str(info.get("robot_type") or "")
    kept = tuple(_without_empty(folder, episodes))
    cameras = read_cameras(info, path)
    return DatasetMeta(
        folder, version, float(info["fps"]), robot, features, kept, tasks, info, left_out, cameras=cameras
    )


def _without_empty(root: Path, episodes: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    empty = [record.index for record in episodes if record.length == 0]
    if empty:
        shown = ", ".join(map(str, empty[:8])) + (", ..." if len(empty) > 8 else "")
        LOGGER.warning(
            "%s: %d of %d episodes have no steps and are left out: %s", root, len(empty), len(episodes), shown
        )
    return [record for record in episodes if record.length > 0]


def load_recording(root: Path) -> dict[str, Any]:
    """Return how the pictures were made, empty where nobody wrote it down.

    Raises:
        DatasetError: if it is written down, but not readable.
    """
    path = root / RECORDING_PATH
    if not path.is_file():
        return {}
    return read_json(path, remedy="restore the file", error=DatasetError)


def _read_jsonl(path: Path, *needed: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place for messages."""
    if not path.is_file():
        raise DatasetError(f"{path}: missing; copy the dataset again, its meta/ folder is incomplete")
    lines = read_json_lines(path, remedy="copy it again", error=DatasetError, allow_nan=False)
    for number, line in lines:
        missing = [key for key in needed if key not in line]
        if missing:
            raise DatasetError(f"{path}: line {number} has no {missing[0]!r}; copy it again")
    return [(f"{path}: line {number}", line) for number, line in lines]


def _in_order(entries: Iterable[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The entries of episodes by `episode_index`, which like `length` is a whole number then.

    Raises:
        DatasetError: if it is none, or two have the same.
    """
    ordered: dict[int, tuple[str, dict[str, Any]]] = {}
    for where, entry in entries:
        index = count(entry["episode_index"], f"{where}: episode_index")
        length = count(entry["length"], f"{where}: length of episode {index}")
        if index in ordered:
            raise DatasetError(
                f"{where}: episode_index {index} is also that of {ordered[index][0].rpartition(': ')[2]}; remove one"
            )
        ordered[index] = where, {**entry, "episode_index": index, "length": length}
    return [ordered[index] for index in sorted(ordered)]


def _video_keys(features: Mapping[str, Feature]) -> list[str]:
    return [key for key, feature in features.items() if feature.dtype == "video"]


def _unplaced_videos(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> dict[str, str]:
    """Why it is not known where a camera's videos lie, by key of the camera."""
    path = root / "meta" / "info.json"
    if not isinstance(info.get("video_path"), str):
        return {key: f"video_path is {info.get('video_path')!r} in {path}; restore it" for key in _video_keys(features)}
    if info["codebase_version"] != "v3.0":
        template = info["video_path"]
        if info["total_episodes"] <= 1 or "{episode_index" in template:
            return {}
        what = f"video_path is {template!r} in {path}, one file for several episodes; give each a file of its own"
        return dict.fromkeys(_video_keys(features), what)
    files = _episode_files(root)
    if not files:
        return {}
    with open_parquet(files[0]) as file:
        columns = file.schema_arrow.names
    wanted = {f"videos/{key}/{name}": key for key in _video_keys(features) for name in _SPAN_CELLS}
    return {key: f"{files[0]} has no column {name!r}" for name, key in wanted.items() if name not in columns}


def _tasks_v21(root: Path) -> dict[int, str] | None:
    path = root / "meta" / "tasks.jsonl"
    if not path.is_file():
        return None
    lines = _read_jsonl(path, "task_index", "task")
    return task_map([(line["task_index"], line["task"]) for _, line in lines], path)


def _episodes_v21(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> list[EpisodeRecord]:
    lines = _read_jsonl(root / "meta" / "episodes.jsonl", "episode_index", "length")
    records = []
    templates = Templates(root, info)
    for where, line in _in_order(lines):
        index = line["episode_index"]
        place = {"episode_index": index, "episode_chunk": index // info["chunks_size"]}
        videos = {
            key: VideoSpan(templates.path("video_path", video_key=key, **place), 0.0) for key in _video_keys(features)
        }
        data_path = templates.path("data_path", **place)
        tasks = tasks_of_episode(line.get("tasks"), where)
        records.append(EpisodeRecord(index, line["length"], tasks, data_path, videos))
    return records


def _tasks_v30(root: Path) -> dict[int, str] | None:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file():
        return None
    number, words = _task_columns(path)
    rows = read_rows(path, [number, words])
    return task_map([(row[number], row[words]) for row in rows], path)


def _task_columns(path: Path) -> tuple[str, str]:
    """The columns of ``tasks.parquet`` with the numbers and the words: `task_index` and `task`.

    Either may be the one that pandas made of its index, and the words may have any name if no other column is text.
    """
    with open_parquet(path) as file:
        types = {name: leaf_type(file.schema_arrow.field(i).type) for i, name in enumerate(file.schema_arrow.names)}
    index = types.get(_PANDAS_INDEX)
    number = "task_index" if index is None or "task_index" in types or is_encoded(index) else _PANDAS_INDEX
    if number not in types:
        have = ", ".join(list(types)[:12])
        raise DatasetError(f"{path}: no column 'task_index' but {have}; name the one with the numbers 'task_index'")
    for name in ("task", _PANDAS_INDEX):
        if name in types and (name == "task" or is_encoded(types[name])):
            return number, name
    others = [name for name in types if name not in (number, _PANDAS_INDEX)]
    if len(others) != 1:
        have = ", ".join(list(types)[:12])
        raise DatasetError(f"{path}: no column 'task' but {have}; name the one with the words 'task'")
    return number, others[0]


def _episode_files(root: Path) -> list[Path]:
    files = visible((root / "meta" / "episodes").glob("*/*.parquet"))
    inside = Inside(root, DatasetError)
    for path in files:
        inside.check_links(path)
    return files


def _episodes_v30(
    root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]
) -> tuple[list[EpisodeRecord], dict[str, str]]:
    """The episodes, and why it is not known where a camera's videos lie, by key of the camera."""
    video_keys = _video_keys(features)
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in video_keys:
        columns += [f"videos/{key}/{name}" for name in _SPAN_CELLS]
    rows = []
    for path in _episode_files(root):
        with open_parquet(path) as file:
            told = [name for name in ("tasks",) if name in file.schema_arrow.names]
        table = read_rows(path, columns + told)
        rows += [(f"{path}: row {number}", row) for number, row in enumerate(table)]
    records = []
    templates = Templates(root, info)
    misplaced: dict[str, str] = {}
    for where, row in _in_order(rows)[: info["total_episodes"]]:  # a killed writer may have left more than it committed
        place = {name: count(row[f"data/{name}"], f"{where}: data/{name}") for name in ("chunk_index", "file_index")}
        data_path = templates.path("data_path", **place)
        placed = [key for key in video_keys if all(row[f"videos/{key}/{name}"] is not None for name in _SPAN_CELLS)]
        videos = {}
        for key in placed:
            try:
                videos[key] = _video_span(templates, row, key, where)
            except DatasetError as error:
                misplaced.setdefault(key, str(error))
        tasks = tasks_of_episode(row.get("tasks"), where)
        records.append(EpisodeRecord(row["episode_index"], row["length"], tasks, data_path, videos))
    return records, misplaced


def _video_span(templates: Templates, row: Mapping[str, Any], key: str, where: str) -> VideoSpan:
    cells = {name: row[f"videos/{key}/{name}"] for name in _SPAN_CELLS}
    names = ("chunk_index", "file_index")
    place = {name: count(cells[name], f"{where}: videos/{key}/{name}") for name in names}
    start_s = finite_number(cells["from_timestamp"])
    if start_s is None:
        raise DatasetError(
            f"{where}: videos/{key}/from_timestamp is {cells['from_timestamp']!r}, not seconds; correct it"
        )
    return VideoSpan(templates.path("video_path", video_key=key, **place), start_s)
