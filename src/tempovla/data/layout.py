"""What a LeRobot dataset's metadata says, the same for every version of the format on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempovla.data.errors import DatasetError

BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns that every LeRobot dataset has and that its writer fills in by itself."""

RECORDING_PATH = "meta/recording.json"
"""Ours: how the pictures were made, see `EpisodeSource.recording`. Other readers of the format pass it by."""


@dataclass(frozen=True)
class Feature:
    """One column of a dataset.

    Attributes:
        dtype: numpy name, or ``video`` (frames in mp4 files) or ``image`` (encoded images in the parquet files).
        shape: shape of one value; cameras are (height, width, 3) whatever order the file declares.
        names: names of the dimensions, or empty.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def is_camera(self) -> bool:
        """Whether the values are images, however they are stored."""
        return self.dtype in ("video", "image")


@dataclass(frozen=True)
class VideoSpan:
    """Where in which mp4 file an episode's frames start [s]."""

    path: Path
    start_s: float


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode as the metadata describes it.

    Attributes:
        index: the `episode_index` of its rows.
        length: number of rows, that is of control steps.
        tasks: instructions that occur in it.
        data_path: the parquet file with its rows.
        videos: camera key to span.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data_path: Path
    videos: Mapping[str, VideoSpan]


@dataclass(frozen=True)
class DatasetMeta:
    """All metadata of a dataset but its statistics.

    Attributes:
        root: the dataset's folder.
        version: `codebase_version`, ``v2.1`` or ``v3.0``.
        fps: control rate, and the frame rate of every video [Hz].
        robot_type: name of the robot, or "".
        features: columns by key.
        episodes: one record an episode, in order.
        tasks: instructions by `task_index`.
        info: ``meta/info.json`` as it is.
    """

    root: Path
    version: str
    fps: float
    robot_type: str
    features: Mapping[str, Feature]
    episodes: tuple[EpisodeRecord, ...]
    tasks: tuple[str, ...]
    info: Mapping[str, Any]


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, with the entries that every version needs.

    Raises:
        DatasetError: if `root` is no LeRobot dataset, or the file is unreadable or incomplete.
    """
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise DatasetError(f"{root}: not a LeRobot dataset, it has no meta/info.json; give the folder that holds meta/")
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise DatasetError(f"{path}: not readable as JSON ({error}); restore the file") from None
    needed = ("codebase_version", "fps", "features", "total_episodes", "total_frames", "data_path")
    missing = [key for key in needed if not isinstance(info, dict) or key not in info]
    if missing:
        raise DatasetError(f"{path}: {missing[0]!r} is missing; restore the file from the original dataset")
    if not isinstance(info["fps"], int | float) or info["fps"] <= 0:
        raise DatasetError(f"{path}: fps is {info['fps']!r}; it must be a positive number")
    return info


def parse_features(info: Mapping[str, Any], path: Path) -> dict[str, Feature]:
    """The columns that ``info.json`` declares; strings, which no model reads, are left out."""
    features: dict[str, Feature] = {}
    for key, entry in info["features"].items():
        try:
            dtype, shape, names = entry["dtype"], tuple(int(size) for size in entry["shape"]), entry.get("names")
        except (KeyError, TypeError, ValueError):
            raise DatasetError(f"{path}: feature {key!r} needs a dtype and a shape, got {entry!r}") from None
        if dtype == "string":
            continue
        if dtype in ("video", "image"):
            features[key] = Feature(dtype, _height_width_channel(key, shape, path))
        else:
            features[key] = Feature(dtype, shape, _flat_names(names))
    return features


def _height_width_channel(key: str, shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    if len(shape) == 3 and shape[2] in (1, 3):  # grey images are read as RGB
        return shape[0], shape[1], 3
    if len(shape) == 3 and shape[0] in (1, 3):
        return shape[1], shape[2], 3
    raise DatasetError(f"{path}: camera {key!r} has shape {list(shape)}; images of one or three channels are read")


def _flat_names(names: Any) -> tuple[str, ...]:
    """Names come as a list, a list of lists, or a dict of lists such as ``{"motors": [...]}``."""
    if isinstance(names, Mapping):
        names = [name for value in names.values() for name in (value if isinstance(value, list) else [value])]
    if not isinstance(names, list):
        return ()
    flat = [inner for name in names for inner in (name if isinstance(name, list) else [name])]
    return tuple(str(name) for name in flat)
