"""Writing LeRobot v3.0 datasets, an episode at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data import video_encode, writer_meta
from tempovla.data.calibrations import read_cameras, with_cameras
from tempovla.data.declared import parse_features
from tempovla.data.episode_store import EncodedEpisode, EpisodeStore
from tempovla.data.errors import DatasetError
from tempovla.data.files import STAGING_NAME, disk_errors_told
from tempovla.data.image_codec import encode_depth, encode_png
from tempovla.data.layout import BOOKKEEPING, Depth, Feature
from tempovla.data.lerobot_meta import load_meta, load_recording
from tempovla.data.statistics import Statistic, of_images, of_values
from tempovla.data.video_encode import VideoConfig
from tempovla.data.writer_checks import check_arrays, check_depth, check_texts, numbers_given, rate_given
from tempovla.storage.json_files import plain_json
from tempovla.storage.lock import FolderLock, Lock
from tempovla.storage.paths import is_plain_name
from tempovla.storage.strays import is_empty, is_stray
from tempovla.timeline.calibration import CameraCalibration, common_cameras
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

WRITTEN_UNIT_M = 0.001
"""Metres of one unit of the depth pictures that are written."""
MILLIMETRES = Depth(unit_m=WRITTEN_UNIT_M)


@dataclass(frozen=True)
class WriterConfig:
    """How a dataset is laid out.

    Attributes:
        data_files_size_in_mb: parquet files hold as many episodes as fit. The last one is written anew with every
            episode, so a small limit keeps that cheap.
        video_files_size_in_mb: mp4 files hold as many episodes as fit.
        video: how cameras are encoded.
    """

    data_files_size_in_mb: int = 16
    video_files_size_in_mb: int = 200
    video: VideoConfig = field(default_factory=VideoConfig)


def infer_features(
    frames: Mapping[str, NDArray[Any]], names: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Feature]:
    """Return features of an episode's arrays (T, ...).

    Images of uint8 become videos. Distances (T, H, W, 1), floats in metres under a key that begins with
    `observation.depth.`, become pictures of 16 bits in millimetres. The rest keep type and shape.

    Args:
        frames: the arrays.
        names: of the dimensions, for the keys where they are known.

    Raises:
        DatasetError: if one of them is no array.
    """
    check_arrays("an episode's arrays", frames)
    features = {}
    for key, values in frames.items():
        if values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] == 3:
            features[key] = Feature("video", values.shape[1:])
        elif key.startswith(DEPTH_KEY_PREFIX) and values.dtype.kind == "f" and values.shape[3:] == (1,):
            features[key] = Feature("image", values.shape[1:], depth=MILLIMETRES)
        else:
            dtype = "float32" if values.dtype == np.float64 else values.dtype.name
            features[key] = Feature(dtype, values.shape[1:] or (1,), (names or {}).get(key, ()))
    return features


class DatasetWriter:
    """Creates a dataset, or adds episodes to one, such that a kill at any moment loses no finished episode.

    Args:
        root: folder to create.
        features: columns, without the bookkeeping ones; see `infer_features`.
        fps: control rate [Hz].
        robot_type: name of the robot.
        config: layout of the files.
        recording: how the pictures were made, as plain JSON values; see `EpisodeSource.recording`.
        entries: what entries of ``info.json`` say beyond `features`, by key; whole ones of columns that are not among
            these and that only `add_encoded` brings.
        resume: add to the dataset in `root` if there is one.
        held: the lock of `root`, if the caller keeps it longer than this writer lives; see `held_dataset`.

    Raises:
        DatasetError: if another process writes there, `root` is not empty and `resume` is not set, what is there has
            other features or fps, or pictures made in another way, or readers would not take the features or fps.
    """

    def __init__(
        self,
        root: str | Path,
        features: Mapping[str, Feature],
        fps: float,
        *,
        robot_type: str = "",
        config: WriterConfig | None = None,
        recording: Mapping[str, Any] | None = None,
        entries: Mapping[str, Mapping[str, Any]] | None = None,
        resume: bool = False,
        held: Lock | None = None,
    ) -> None:
        self.root = Path(root)
        recording = plain_json(dict(recording or {}))  # as it will be read
        self.features = {key: feature for key, feature in features.items() if key not in BOOKKEEPING}
        self._refuse_key_as_folder()
        self.fps = fps = rate_given(str(self.root), fps)
        self.config = config or WriterConfig()
        limits = self.config.data_files_size_in_mb, self.config.video_files_size_in_mb
        info = writer_meta.new_info(self.features, fps, robot_type, *limits, entries=entries or {})
        self._refuse_unreadable(info)
        self._store = EpisodeStore(self.root, info)
        self._lock = held_dataset(self.root) if held is None else None
        try:
            with self._disk_errors_told("opening the dataset"):
                self._open(recording, info, resume)
        except (OSError, ValueError):
            self._release()
            raise

    def _open(self, recording: Mapping[str, Any], info: Mapping[str, Any], resume: bool) -> None:
        """Create the dataset, or go on with what is there."""
        if is_unwritten(self.root):
            self._store.discard_unfinished()
            self._store.create()
            self._store.set_recording(recording)
        elif resume:
            meta = load_meta(self.root)
            if meta.episodes:
                self._refuse_other_layout(meta.version, meta.fps, meta.features)
                self._refuse_other_recording(recording)
            self._store.resume(meta)
            if not meta.episodes:  # what a call left that failed before its first episode says nothing about this one
                self._store.info = dict(info)
                self._store.create()
                self._store.set_recording(recording)
        else:
            raise DatasetError(f"{self.root}: not empty, and nothing is overwritten; give another folder, or resume it")

    def _refuse_key_as_folder(self) -> None:
        """A camera's videos lie in a folder of its name, which must be one below this dataset's."""
        for key, feature in self.features.items():
            if feature.dtype == "video" and not is_plain_name(key):
                raise DatasetError(
                    f"{self.root}: camera {key!r} gives its videos no folder; give it another name, such as "
                    f"{IMAGE_KEY_PREFIX}front"
                )

    def _refuse_unreadable(self, info: Mapping[str, Any]) -> None:
        """What readers would leave out is not written."""
        _, left_out = parse_features(info, self.root)
        for key in self.features.keys() & left_out.keys():
            raise DatasetError(left_out[key])

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._release()

    def discard(self) -> None:
        """Remove a dataset in which there is no episode."""
        assert len(self) == 0, "there are episodes"
        self._store.discard_all()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def __len__(self) -> int:
        return self._store.info["total_episodes"]

    def add_episode(self, frames: Mapping[str, NDArray[Any]], task: str | Sequence[str]) -> int:
        """Write one episode; when this returns, it is on the disk.

        Args:
            frames: array (T, *shape) of every feature, T at least 1; cameras (T, H, W, 3) uint8 RGB. Numbers of
                another type than the feature's are taken where they are the same in it; floats may be rounded.
                Distances (T, H, W, 1) are metres, kept to the millimetre; 0, what is not finite and what is beyond
                65.535 m are no readings, and are read as 0.
            task: the instruction, or one for every step.

        Returns:
            The episode's index.

        Raises:
            DatasetError: if a feature is missing, has another shape, is not finite or does not fit its type, if an
                instruction is no text that readers take, or if the disk is full; the episodes written before are safe.
        """
        length = self._validated_length(frames)
        tasks = list(task) if isinstance(task, Sequence) and not isinstance(task, str | bytes) else [task] * length
        check_texts(str(self.root), tasks)
        if len(tasks) != length:
            raise DatasetError(
                f"{self.root}: {len(tasks)} tasks for an episode of {length} steps; give one for each step"
            )
        columns: dict[str, pa.Array] = {}
        videos: dict[str, bytes] = {}
        stats: dict[str, Statistic] = {}
        for key, feature in self.features.items():
            if feature.is_camera:
                stats[key] = of_images(frames[key])
            if feature.dtype == "video":
                videos[key] = video_encode.encode(frames[key], self.fps, self.config.video)
            elif feature.depth is not None:
                columns[key] = image_column([encode_depth(image, WRITTEN_UNIT_M) for image in frames[key]])
            elif feature.dtype == "image":
                columns[key] = image_column([encode_png(image) for image in frames[key]])
            else:
                values = numbers_given(str(self.root), key, frames[key], feature.dtype)
                values = values.reshape(length, *feature.shape)
                columns[key], stats[key] = number_column(values), of_values(values)
        return self.add_encoded(EncodedEpisode(columns, videos, stats, tasks))

    def add_encoded(self, episode: EncodedEpisode) -> int:
        """Write an episode that is encoded already, and return its index; see `add_episode`."""
        with self._disk_errors_told(f"writing episode {len(self)}"):
            return self._store.append(episode)

    def calibrate(self, cameras: Iterable[CameraCalibration]) -> None:
        """Record the calibrations that hold for the next episodes; those of streams without a feature are left out.

        A dataset keeps what holds of all of its episodes: a camera whose pose changes between them has none.

        Raises:
            DatasetError: if the intrinsics of a stream are not those of the episodes before.
        """
        known = tuple(camera for camera in cameras if camera.stream in self.features)
        if len(self):
            try:
                known = common_cameras(read_cameras(self._store.info, self.root / "meta" / "info.json"), known)
            except ValueError as error:
                raise DatasetError(f"{self.root}: {error}") from None
        self._store.info = with_cameras(self._store.info, known)

    def close(self) -> None:
        """Join the videos into few files, and let others write there.

        Without it the dataset is complete all the same.

        Raises:
            DatasetError: if the disk does not take them; all episodes are safe.
        """
        try:
            with self._disk_errors_told("joining the videos"):
                self._store.close()
        finally:
            self._release()

    def _disk_errors_told(self, doing: str) -> AbstractContextManager[None]:
        safe = f"the episodes written, {len(self)} in all,"
        return disk_errors_told(self.root, doing, safe, self._store.discard_unfinished)

    def _refuse_other_layout(self, version: str, fps: float, features: Mapping[str, Feature]) -> None:
        if version != "v3.0":
            raise DatasetError(f"{self.root}: cannot add to {version}; convert it to v3.0 first")
        if fps != self.fps:
            raise DatasetError(f"{self.root}: recorded at {fps:g} fps, not {self.fps:g}; use another folder")
        here = {key: (f.dtype, f.shape) for key, f in features.items() if key not in BOOKKEEPING}
        asked = {key: (f.dtype, f.shape) for key, f in self.features.items()}
        for key in here | asked:
            if here.get(key) != asked.get(key):
                raise DatasetError(
                    f"{self.root}: {key!r} is {here.get(key)} there, but {asked.get(key)} here; use another folder"
                )

    def _refuse_other_recording(self, recording: Mapping[str, Any]) -> None:
        here = load_recording(self.root)
        if here != recording:
            raise DatasetError(
                f"{self.root}: was recorded with {json.dumps(here)}, not {json.dumps(recording)}; use another folder, "
                "or record in the same way"
            )

    def _validated_length(self, frames: Mapping[str, NDArray[Any]]) -> int:
        odd = sorted(set(frames) ^ set(self.features))
        if odd:
            raise DatasetError(f"{self.root}: {odd[0]!r} is in the episode or in the features, but not in both")
        check_arrays(str(self.root), frames)
        lengths = [len(values) for values in frames.values() if values.ndim]
        length = lengths[0] if lengths else 0
        if length == 0:
            raise DatasetError(f"{self.root}: the episode has no step; give arrays of at least one")
        for key, feature in self.features.items():
            values, shape = frames[key], (length, *feature.shape)
            flat_scalar = feature.shape == (1,) and values.shape == (length,)
            if values.shape != shape and not flat_scalar:
                raise DatasetError(f"{self.root}: {key!r} has shape {list(values.shape)}, not {list(shape)}")
            if feature.is_camera and values.dtype != np.uint8:
                raise DatasetError(f"{self.root}: {key!r} is {values.dtype}; give uint8 RGB")
            if feature.depth is not None:
                check_depth(str(self.root), key, values)
        return length


def held_dataset(root: Path) -> Lock:
    """Return a lock that keeps others from writing a dataset until it is released.

    Raises:
        DatasetError: naming who writes there now.
    """
    remedy = "let it end, or choose another folder"
    return FolderLock(root, "writes a dataset", remedy=remedy, error=DatasetError)


def is_unwritten(root: Path) -> bool:
    """Whether a folder is missing, or holds nothing but strays and what a kill left before a dataset was there."""
    try:
        return all(is_stray(path.name) or path.name == STAGING_NAME or _is_bare(path) for path in root.iterdir())
    except FileNotFoundError:
        return True


def _is_bare(path: Path) -> bool:
    """Whether it is the folder `meta`, without anything in it."""
    return path.name == "meta" and path.is_dir() and is_empty(path)


def number_column(values: NDArray[Any]) -> pa.Array:
    """Return an Arrow array of T fixed-size lists, nested where values are matrices; plain numbers for shape (1,)."""
    column = pa.array(values.reshape(-1))
    if values.shape[1:] == (1,):
        return column
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def image_column(encoded: Sequence[bytes]) -> pa.Array:
    """Return an Arrow array of T encoded images, as structs with the bytes and no path."""
    paths = pa.nulls(len(encoded), pa.string())
    return pa.StructArray.from_arrays([pa.array(encoded, pa.binary()), paths], names=["bytes", "path"])
