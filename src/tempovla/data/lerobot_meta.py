"""Metadata of LeRobot datasets, v2.1 (a file an episode) and v3.0 (files of many episodes)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from tempovla.data.parquet import open_parquet, read_columns
from tempovla.data.tasks import task_map, tasks_of_episode

_SPAN_CELLS = ("chunk_index", "file_index", "from_timestamp")
"""What an episode's entry says of a camera's video (v3.0)."""


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
    version = str(info["codebase_version"])
    if version == "v3.0":
        episodes, tasks = _episodes_v30(folder, info, features), _tasks_v30(folder)
    elif version == "v2.1":
        episodes, tasks = _episodes_v21(folder, info, features), _tasks_v21(folder)
    else:
        raise DatasetError(f"{path}: codebase_version {version!r}; v2.1 and v3.0 are read, convert it with LeRobot")
    if len(episodes) != info["total_episodes"]:
        raise DatasetError(f"{path}: total_episodes is {info['total_episodes']}, but meta/ describes {len(episodes)}")
    frames = sum(record.length for record in episodes)
    if frames != info["total_frames"]:
        raise DatasetError(f"{path}: total_frames is {info['total_frames']}, but the episodes have {frames} in all")
    robot = str(info.get("robot_type") or "")
    return DatasetMeta(folder, version, float(info["fps"]), robot, features, tuple(episodes), tasks, info, left_out)


def load_recording(root: Path) -> dict[str, Any]:
    """How the pictures were made, empty where nobody wrote it down.

    Raises:
        DatasetError: if it is written down, but not readable.
    """
    path = root / RECORDING_PATH
    if not path.is_file():
        return {}
    try:
        recording = json.loads(path.read_text())
    except ValueError as error:
        raise DatasetError(f"{path}: not readable as JSON ({error}); restore the file") from None
    if not isinstance(recording, dict):
        raise DatasetError(f"{path}: holds a {type(recording).__name__}, not an object; restore the file")
    return recording


def _read_jsonl(path: Path, *needed: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DatasetError(f"{path}: missing; copy the dataset again, its meta/ folder is incomplete")
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise DatasetError(f"{path}: not readable as JSON lines ({error}); copy it again") from None
    for number, line in enumerate(lines, start=1):
        missing = [key for key in needed if key not in line]
        if missing:
            raise DatasetError(f"{path}: line {number} has no {missing[0]!r}; copy it again")
    return lines


def _video_keys(features: Mapping[str, Feature]) -> list[str]:
    return [key for key, feature in features.items() if feature.dtype == "video"]


def _unplaced_videos(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> dict[str, str]:
    """Why it is not known where a camera's videos lie, by key of the camera."""
    path = root / "meta" / "info.json"
    if not isinstance(info.get("video_path"), str):
        return {key: f"video_path is {info.get('video_path')!r} in {path}; restore it" for key in _video_keys(features)}
    files = _episode_files(root) if info["codebase_version"] == "v3.0" else []
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
    return task_map([(line["task_index"], line["task"]) for line in lines], path)


def _episodes_v21(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> list[EpisodeRecord]:
    path = root / "meta" / "episodes.jsonl"
    lines = _read_jsonl(path, "episode_index", "length")
    records = []
    for line in sorted(lines, key=lambda line: line["episode_index"]):
        index = line["episode_index"]
        place = {"episode_index": index, "episode_chunk": index // info.get("chunks_size", 1000)}
        videos = {
            key: VideoSpan(root / info["video_path"].format(video_key=key, **place), 0.0)
            for key in _video_keys(features)
        }
        data_path = root / info["data_path"].format(**place)
        tasks = tasks_of_episode(line.get("tasks"), f"{path}: episode {index}")
        records.append(EpisodeRecord(index, line["length"], tasks, data_path, videos))
    return records


def _tasks_v30(root: Path) -> dict[int, str] | None:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file():
        return None
    words = _words_column(path)
    rows = read_columns(path, ["task_index", words]).to_pylist()
    return task_map([(row["task_index"], row[words]) for row in rows], path)


def _words_column(path: Path) -> str:
    """The column of ``tasks.parquet`` with the words: `task`, or the one that pandas made of its index."""
    with open_parquet(path) as file:
        names = file.schema_arrow.names
    for name in ("task", "__index_level_0__"):
        if name in names:
            return name
    others = [name for name in names if name != "task_index"]
    if len(others) != 1:
        raise DatasetError(f"{path}: no column 'task' but {', '.join(names[:12])}; name the one with the words 'task'")
    return others[0]


def _episode_files(root: Path) -> list[Path]:
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))


def _episodes_v30(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> list[EpisodeRecord]:
    video_keys = _video_keys(features)
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in video_keys:
        columns += [f"videos/{key}/{name}" for name in _SPAN_CELLS]
    rows = []
    for path in _episode_files(root):
        with open_parquet(path) as file:
            told = [name for name in ("tasks",) if name in file.schema_arrow.names]
        rows += read_columns(path, columns + told).to_pylist()
    rows.sort(key=lambda row: row["episode_index"])
    records = []
    for row in rows[: info["total_episodes"]]:  # a writer that was killed may have left rows it did not commit
        data_path = info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        placed = [key for key in video_keys if all(row[f"videos/{key}/{name}"] is not None for name in _SPAN_CELLS)]
        videos = {key: _video_span(root, info, row, key) for key in placed}
        tasks = tasks_of_episode(row.get("tasks"), f"{root / 'meta' / 'episodes'}: episode {row['episode_index']}")
        records.append(EpisodeRecord(row["episode_index"], row["length"], tasks, root / data_path, videos))
    return records


def _video_span(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], key: str) -> VideoSpan:
    place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    return VideoSpan(root / info["video_path"].format(video_key=key, **place), row[f"videos/{key}/from_timestamp"])
