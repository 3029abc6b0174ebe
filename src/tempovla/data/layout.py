"""Metadata of a LeRobot dataset, the same for every version of the format on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tempovla.data.errors import DatasetError
from tempovla.data.numbers import count, number
from tempovla.storage.json_files import read_json
from tempovla.timeline.calibration import CameraCalibration

BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns that every LeRobot dataset has and that its writer fills in by itself."""

MOST_PIXELS = 50_000_000
"""More than a picture of any robot's camera has; a small file may declare thousands of times as many."""

VERSIONS = {(2, 0): "v2.1", (2, 1): "v2.1", (3, 0): "v3.0"}
"""Which layout of files a `codebase_version` means."""

OWN_ENTRY = "tempovla"
"""Ours: the entry of ``meta/info.json`` with what its format has no place for. Other readers pass it by."""

_VERSION = re.compile(r"[vV]?(\d+)\.(\d+)(?:\.\d+)?")

RECORDING_PATH = "meta/recording.json"
"""Ours: how the pictures were made, see `EpisodeSource.recording`. Other readers of the format pass it by."""


@dataclass(frozen=True)
class DepthCode:
    """How the 12-bit levels of a depth video stand for distances, as LeRobot writes them.

    Attributes:
        low_m: distance of level 0, which also stands for no reading [m].
        high_m: distance of level 4095 [m].
        shift_m: is added before the logarithm is taken [m].
        is_logarithmic: whether levels are even in the logarithm of the distance, or in the distance.
    """

    low_m: float
    high_m: float
    shift_m: float
    is_logarithmic: bool


@dataclass(frozen=True)
class Depth:
    """Meaning of the stored numbers of depth pictures.

    Attributes:
        unit_m: metres of one unit [m]; None where the dataset does not declare it, and the user must.
        low_m: the least reading; None where the dataset does not say [m].
        high_m: the greatest reading [m].
        code: what the levels of a video mean where they are no units.
    """

    unit_m: float | None = None
    low_m: float | None = None
    high_m: float | None = None
    code: DepthCode | None = None


@dataclass(frozen=True)
class Feature:
    """One column of a dataset.

    Attributes:
        dtype: numpy name, or ``video`` (frames in mp4 files) or ``image`` (pictures in the parquet files).
        shape: shape of one value; cameras are (height, width, 3) and depth is (height, width, 1) whatever order the
            file declares.
        names: names of the dimensions, or empty.
        depth: meaning of the numbers, if the pictures hold distances.
        is_channels_first: whether the file declares a camera as (channels, height, width).
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    depth: Depth | None = None
    is_channels_first: bool = field(default=False, compare=False)

    @property
    def is_camera(self) -> bool:
        """Whether the values are RGB pictures, however they are stored."""
        return self.dtype in ("video", "image") and self.depth is None

    @property
    def is_picture(self) -> bool:
        """Whether the values are pictures, of colours or of distances."""
        return self.dtype in ("video", "image") or self.depth is not None


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
        tasks: what its entry says occurs in it, in words or as `task_index`, in no order.
        data_path: the parquet file with its rows.
        videos: camera key to span; a camera may have none of some episodes.
    """

    index: int
    length: int
    tasks: tuple[str | int, ...]
    data_path: Path
    videos: Mapping[str, VideoSpan]

    def video(self, key: str) -> VideoSpan:
        """Return the place of a camera's video of the episode.

        Raises:
            DatasetError: if there is none.
        """
        if key not in self.videos:
            raise DatasetError(
                f"{self.data_path}: meta/episodes gives episode {self.index} no video of {key!r}; "
                "restore it, or leave the camera out of what is read"
            )
        return self.videos[key]


@dataclass(frozen=True)
class DatasetMeta:
    """All metadata of a dataset but its statistics.

    Attributes:
        root: the dataset's folder.
        version: ``v2.1`` or ``v3.0``; v2.0 is read as v2.1.
        fps: control rate, and the frame rate of every video [Hz].
        robot_type: name of the robot, or "".
        features: columns by key.
        episodes: one record an episode, in order.
        tasks: instructions by `task_index`; None where there is no such file.
        info: ``meta/info.json``, its version and numbers in one spelling.
        left_out: why columns that are declared are not among `features`, by key.
        default_instruction: instruction of rows that have none; the reader chooses it.
        cameras: calibrations of streams of pictures, where the dataset records them.
    """

    root: Path
    version: str
    fps: float
    robot_type: str
    features: Mapping[str, Feature]
    episodes: tuple[EpisodeRecord, ...]
    tasks: Mapping[int, str] | None
    info: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    default_instruction: str = ""
    cameras: tuple[CameraCalibration, ...] = ()


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, with the entries that every version needs.

    Raises:
        DatasetError: if `root` is no LeRobot dataset, or the file is unreadable or incomplete.
    """
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise DatasetError(f"{root}: not a LeRobot dataset, it has no meta/info.json; give the folder that holds meta/")
    info = read_json(path, remedy="restore the file", error=DatasetError, allow_nan=False)
    needed = ("codebase_version", "fps", "features", "total_episodes", "total_frames", "data_path")
    missing = [key for key in needed if key not in info]
    if missing:
        raise DatasetError(f"{path}: {missing[0]!r} is missing; restore the file from the original dataset")
    fps = number(info["fps"])
    if fps is None or fps <= 0:
        raise DatasetError(f"{path}: fps is {info['fps']!r}; it must be a positive number")
    totals = {key: count(info[key], f"{path}: {key}") for key in ("total_episodes", "total_frames")}
    chunks_size = count(info.get("chunks_size", 1000), f"{path}: chunks_size", least=1)
    version = {"codebase_version": _version(info["codebase_version"], path)}
    return info | totals | version | {"fps": int(fps) if fps.is_integer() else fps, "chunks_size": chunks_size}


def _version(given: Any, path: Path) -> str:
    """``v2.1`` or ``v3.0``. The files of v2.0 differ from those of v2.1 in their statistics alone."""
    match = _VERSION.fullmatch(str(given).strip())
    known = VERSIONS.get((int(match[1]), int(match[2]))) if match else None
    if known is None:
        raise DatasetError(f"{path}: codebase_version {given!r}; v2.0, v2.1 and v3.0 are read, convert it with LeRobot")
    return known
