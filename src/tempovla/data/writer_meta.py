"""The ``meta/`` folder of a v3.0 dataset while it is being written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.declared import DEPTH_UNITS
from tempovla.data.layout import BOOKKEEPING, Feature
from tempovla.data.statistics import Statistic, of_values

CHUNKS_SIZE = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"

BOOKKEEPING_FEATURES = {key: Feature("float32" if key == "timestamp" else "int64", (1,)) for key in BOOKKEEPING}


def place(number: int) -> dict[str, int]:
    """Return the chunk and index within it of the file with a running number."""
    return {"chunk_index": number // CHUNKS_SIZE, "file_index": number % CHUNKS_SIZE}


def number(chunk_index: int, file_index: int) -> int:
    """Return the running number of a file."""
    return chunk_index * CHUNKS_SIZE + file_index


def new_info(
    features: Mapping[str, Feature],
    fps: float,
    robot_type: str,
    data_mb: int,
    video_mb: int,
    *,
    entries: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """``info.json`` of a dataset without episodes; `entries` say more of its features, or name further ones."""
    described = {key: _feature_entry(f, fps) for key, f in {**features, **BOOKKEEPING_FEATURES}.items()}
    has_video = any(feature.dtype == "video" for feature in features.values())
    return {
        "codebase_version": "v3.0",
        "robot_type": robot_type,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": CHUNKS_SIZE,
        "data_files_size_in_mb": data_mb,
        "video_files_size_in_mb": video_mb,
        "fps": int(fps) if float(fps).is_integer() else fps,
        "splits": {},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if has_video else None,
        "features": described | {key: {**described.get(key, {}), **entry} for key, entry in entries.items()},
    }


def _feature_entry(feature: Feature, fps: float) -> dict[str, Any]:
    names = ["height", "width", "channels"] if feature.is_picture else list(feature.names) or None
    entry: dict[str, Any] = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
    if feature.depth is not None and feature.depth.unit_m is not None:
        entry["info"] = {"is_depth_map": True, "depth_unit": unit_name(feature.depth.unit_m)}
    if feature.dtype != "video":
        entry["fps"] = int(fps) if float(fps).is_integer() else fps
    return entry


def unit_name(unit_m: float) -> str | float:
    """Return how a file declares the unit of depth: by its name where it has one, else in metres."""
    return next((name for name, metres in DEPTH_UNITS.items() if metres == unit_m), unit_m)


def tasks_table(tasks: Mapping[int, str]) -> pa.Table:
    """``tasks.parquet``; its pandas metadata make the text the index, as LeRobot expects."""
    columns = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [{**column, "metadata": None} for column in columns],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(list(tasks), pa.int64()), "task": pa.array(list(tasks.values()), pa.string())}
    )
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def episode_row(entries: Mapping[str, Any], stats: Mapping[str, Statistic]) -> pa.Table:
    """Return one row of ``meta/episodes``."""
    values = dict(entries)
    types = {key: pa.float64() if key.endswith("_timestamp") else pa.int64() for key in entries}
    types["tasks"] = pa.list_(pa.string())
    for key, entry in statistics_json(stats).items():
        for name, value in entry.items():
            values[f"stats/{key}/{name}"] = value
            types[f"stats/{key}/{name}"] = _nested_list_type(value, pa.int64() if name == "count" else pa.float64())
    # One struct for all the columns: arrow looks for pandas anew, and slowly, in every array made from Python objects.
    row = pa.array([values], pa.struct(list(types.items())))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(row)])


def _nested_list_type(value: Any, leaf: pa.DataType) -> pa.DataType:
    return pa.list_(_nested_list_type(value[0], leaf)) if isinstance(value, list) else leaf


def set_cells(table: pa.Table, column: str, values: Mapping[int, Any]) -> pa.Table:
    """Return the table with some cells of one column replaced, by row."""
    cells = table.column(column).to_pylist()
    for row, value in values.items():
        cells[row] = value
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(cells, field.type))


def statistics_json(stats: Mapping[str, Statistic]) -> dict[str, Any]:
    """``stats.json``."""
    return {
        key: {
            name: (value.astype(np.int64) if name == "count" else np.atleast_1d(value)).tolist()
            for name, value in entry.items()
        }
        for key, entry in stats.items()
    }


def bookkeeping(
    episode: int, first_frame: int, task_index: Sequence[int], fps: float
) -> tuple[dict[str, pa.Array], dict[str, Statistic]]:
    """Return the columns that LeRobot adds to an episode by itself, and their statistics."""
    frame = np.arange(len(task_index), dtype=np.int64)
    values: dict[str, NDArray[Any]] = {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full_like(frame, episode),
        "index": frame + first_frame,
        "task_index": np.array(task_index, dtype=np.int64),
    }
    columns = {key: pa.array(value) for key, value in values.items()}
    return columns, {key: of_values(value[:, None]) for key, value in values.items()}
