"""Whatever is read here as a LeRobot v3.0 dataset of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data import video_encode
from tempovla.data.byte_cache import ByteCache
from tempovla.data.columns import Columns
from tempovla.data.episode_store import EncodedEpisode
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import encode_png
from tempovla.data.layout import BOOKKEEPING
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.open import open_source
from tempovla.data.statistics import Statistic, of_images, of_values
from tempovla.data.stored_statistics import load_statistics
from tempovla.data.video import VideoFile
from tempovla.data.writer import DatasetWriter, WriterConfig, image_column, infer_features, number_column
from tempovla.timeline.source import EpisodeSource

_CACHE_BYTES = 64 << 20


def convert(source: str | Path, target: str | Path, config: WriterConfig | None = None) -> int:
    """Write a dataset as v3.0, and return the number of its episodes.

    Of v2.1, videos are copied as they are; only one that has other frames than its episode is encoded again. What is
    v3.0 already, such as recorded rollouts, is checked and copied. LIBERO's pictures become videos, upright.

    Raises:
        DatasetError: if `source` is not a sound dataset, or `target` is not empty.
    """
    opened = open_source(source)
    if not isinstance(opened, LeRobotSource):
        return _record(opened, Path(target), config)
    opened, meta = opened.with_cache(ByteCache(_CACHE_BYTES)), opened.meta
    if meta.version == "v3.0":
        return _copy(opened, Path(target))
    config = config or WriterConfig()
    reader = _Reader(opened, config)
    stored = load_statistics(meta)
    features = {key: feature for key, feature in meta.features.items() if key not in BOOKKEEPING}
    robot, recording = meta.robot_type, opened.recording
    with DatasetWriter(target, features, meta.fps, robot_type=robot, config=config, recording=recording) as writer:
        for episode in range(len(meta.episodes)):
            known = stored[episode] if len(stored) == len(meta.episodes) else {}
            writer.add_encoded(reader.encoded(episode, list(features), known))
    return len(meta.episodes)


def _record(source: EpisodeSource, target: Path, config: WriterConfig | None) -> int:
    def frames(episode: int) -> dict[str, NDArray[Any]]:
        steps = range(source.episode(episode).length)
        return {key: source.read(episode, key, steps).value for key in source.streams}

    features = infer_features(frames(0), {key: stream.names for key, stream in source.streams.items()})
    rate_hz, robot, recording = source.rate_hz, source.embodiment.name, source.recording
    with DatasetWriter(target, features, rate_hz, robot_type=robot, config=config, recording=recording) as writer:
        for episode in range(len(source)):
            writer.add_episode(frames(episode), source.instructions(episode))
    return len(source)


def _copy(source: LeRobotSource, target: Path) -> int:
    if target.exists() and any(target.iterdir()):
        raise DatasetError(f"{target}: not empty, and nothing is overwritten; give another folder")
    source.check()
    staging = target.with_name(f".{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source.meta.root, staging)
    if target.exists():
        target.rmdir()
    staging.rename(target)
    return len(source)


class _Reader:
    """Takes episodes out of a dataset in the form in which they are stored."""

    def __init__(self, source: LeRobotSource, config: WriterConfig) -> None:
        self._source = source
        self._config = config
        self._columns = Columns(source.meta, source.cache)

    def encoded(self, episode: int, keys: Sequence[str], known: dict[str, Statistic]) -> EncodedEpisode:
        """One episode; statistics of its cameras are taken from `known` where they are."""
        meta, record = self._source.meta, self._source.meta.episodes[episode]
        steps = range(record.length)
        columns: dict[str, pa.Array] = {}
        videos: dict[str, bytes] = {}
        stats: dict[str, Statistic] = {}
        for key in keys:
            feature = meta.features[key]
            if feature.is_camera:
                stats[key] = known[key] if key in known else of_images(self._source.read(episode, key, steps).value)
            if feature.dtype == "video":
                videos[key] = self._video(episode, key)
            elif feature.dtype == "image":
                columns[key] = image_column([self._picture(episode, key, step) for step in steps])
            else:
                values = self._source.read(episode, key, steps).value
                columns[key], stats[key] = number_column(values), of_values(values)
        return EncodedEpisode(columns, videos, stats, self._source.instructions(episode))

    def _picture(self, episode: int, key: str, step: int) -> bytes:
        record = self._source.meta.episodes[episode]
        stored = self._columns.stored_picture(record, key, step)
        return stored if isinstance(stored, bytes) else encode_png(self._columns.picture(record, key, step))

    def _video(self, episode: int, key: str) -> bytes:
        record, fps = self._source.meta.episodes[episode], self._source.meta.fps
        path = record.videos[key].path
        video = VideoFile(path)
        is_regular = video.is_regular(record.length, fps)
        video.close()
        if is_regular:
            return path.read_bytes()
        frames = self._source.read(episode, key, range(record.length)).value
        return video_encode.encode(frames, fps, self._config.video)
