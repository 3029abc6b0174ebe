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
    return DatasetMeta(
        folder, version, float(info["fps"]), robot, features, tuple(episodes), tuple(tasks), info, left_out
    )


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


def _tasks_v21(root: Path) -> list[str]:
    lines = _read_jsonl(root / "meta" / "tasks.jsonl", "task_index", "task")
    return [line["task"] for line in sorted(lines, key=lambda line: line["task_index"])]


def _episodes_v21(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> list[EpisodeRecord]:
    lines = _read_jsonl(root / "meta" / "episodes.jsonl", "episode_index", "length", "tasks")
    records = []
    for line in sorted(lines, key=lambda line: line["episode_index"]):
        index = line["episode_index"]
        place = {"episode_index": index, "episode_chunk": index // info.get("chunks_size", 1000)}
        videos = {
            key: VideoSpan(root / info["video_path"].format(video_key=key, **place), 0.0)
            for key in _video_keys(features)
        }
        data_path = root / info["data_path"].format(**place)
        records.append(EpisodeRecord(index, line["length"], tuple(line["tasks"]), data_path, videos))
    return records


def _tasks_v30(root: Path) -> list[str]:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file() and not list((root / "meta" / "episodes").glob("*/*.parquet")):
        return []  # a dataset without any episode yet
    with open_parquet(path) as file:
        text_column = next((name for name in file.schema_arrow.names if name != "task_index"), "task")
    rows = read_columns(path, ["task_index", text_column]).to_pylist()
    return [row[text_column] for row in sorted(rows, key=lambda row: row["task_index"])]


def _episode_files(root: Path) -> list[Path]:
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))


def _episodes_v30(root: Path, info: Mapping[str, Any], features: Mapping[str, Feature]) -> list[EpisodeRecord]:
    video_keys = _video_keys(features)
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for key in video_keys:
        columns += [f"videos/{key}/{name}" for name in _SPAN_CELLS]
    rows = [row for path in _episode_files(root) for row in read_columns(path, columns).to_pylist()]
    rows.sort(key=lambda row: row["episode_index"])
    records = []
    for row in rows[: info["total_episodes"]]:  # a writer that was killed may have left rows it did not commit
        data_path = info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        placed = [key for key in video_keys if all(row[f"videos/{key}/{name}"] is not None for name in _SPAN_CELLS)]
        videos = {key: _video_span(root, info, row, key) for key in placed}
        tasks = tuple(row["tasks"])
        records.append(EpisodeRecord(row["episode_index"], row["length"], tasks, root / data_path, videos))
    return records


def _video_span(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], key: str) -> VideoSpan:
    place = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    return VideoSpan(root / info["video_path"].format(video_key=key, **place), row[f"videos/{key}/from_timestamp"])
