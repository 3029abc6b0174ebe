"""Pictures of a dataset's episodes out of its video files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.columns import Columns
from tempovla.data.errors import DatasetError
from tempovla.data.layout import DatasetMeta, EpisodeRecord
from tempovla.data.video import VideoPool


class VideoFrames:
    """Finds the frames of an episode's steps in its videos, decodes them and keeps them in the cache.

    Args:
        meta: the dataset; its fps is the frame rate of every video.
        columns: gives the rows' timestamps.
        cache: keeps decoded frames.
    """

    def __init__(self, meta: DatasetMeta, columns: Columns, cache: ByteCache) -> None:
        self._meta = meta
        self._columns = columns
        self._cache = cache
        self._pool = VideoPool()

    def check(self, record: EpisodeRecord) -> None:
        """Compare an episode's videos with the metadata, without decoding any frame.

        Raises:
            DatasetError: if a file is missing or incomplete, has frames of another size, or lacks the episode's.
        """
        for key, span in record.videos.items():
            if key not in self._meta.features:
                continue
            video = self._pool.get(span.path)
            height, width, _ = self._meta.features[key].shape
            if video.size != (height, width):
                raise _wrong_size(span.path, key, video.size, (height, width))
            video.numbers(self._times_s(record, key, np.array([0, record.length - 1])), self._meta.fps)

    def fill(
        self, out: NDArray[np.uint8], key: str, records: Sequence[EpisodeRecord], steps: NDArray[np.int64]
    ) -> None:
        """Put the frames of a camera at steps (B, T) of B episodes into `out` (B, T, H, W, 3).

        What the cache lacks is decoded file by file and in order, so that no frame is decoded twice.

        Raises:
            DatasetError: if a video lacks one of the frames, is damaged, or has frames of another size.
        """
        wanted: dict[Path, dict[int, list[tuple[int, int]]]] = {}
        for row, record in enumerate(records):
            path = record.video(key).path
            numbers = self._pool.get(path).numbers(self._times_s(record, key, steps[row]), self._meta.fps)
            places = wanted.setdefault(path, {})
            for step, number in enumerate(numbers.tolist()):
                places.setdefault(number, []).append((row, step))
        for path, places in wanted.items():
            missing = []
            for number, targets in places.items():
                frame = self._cache.get((path, number))
                if frame is None:
                    missing.append(number)
                else:
                    for target in targets:
                        out[target] = frame
            for number, frame in self._pool.get(path).decode(sorted(missing)):
                if frame.shape != out.shape[2:]:
                    raise _wrong_size(path, key, frame.shape[:2], out.shape[2:4])
                self._cache.put((path, number), frame)
                for target in places[number]:
                    out[target] = frame

    def _times_s(self, record: EpisodeRecord, key: str, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Times of an episode's frames in its video file: those of the rows, freed from jitter."""
        recorded_s = self._columns.times_s(record)[steps]
        return record.video(key).start_s + np.round(recorded_s * self._meta.fps) / self._meta.fps


def _wrong_size(path: Path, key: str, found: tuple[int, ...], declared: tuple[int, ...]) -> DatasetError:
    return DatasetError(
        f"{path}: frames of height and width {found}, but meta/info.json declares {declared} for {key!r}; correct it"
    )
