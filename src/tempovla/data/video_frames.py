"""Pictures of a dataset's episodes out of its video files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.columns import Columns
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import metres_of_levels
from tempovla.data.layout import DatasetMeta, EpisodeRecord
from tempovla.data.video import VideoPool
from tempovla.data.video_spans import DisagreementError, FilePlan

_MAX_PLANS = 64


class VideoFrames:
    """Finds the frames of an episode's steps in its videos, decodes them and keeps them in the cache.

    Args:
        meta: the dataset; its fps is the control rate.
        columns: gives the rows' timestamps.
        cache: keeps decoded frames.
    """

    def __init__(self, meta: DatasetMeta, columns: Columns, cache: ByteCache) -> None:
        self._meta = meta
        self._columns = columns
        self._cache = cache
        self._pool = VideoPool()
        self._plans: OrderedDict[tuple[str, Path], FilePlan] = OrderedDict()
        self._numbers: dict[tuple[str, int], int | NDArray[np.int64]] = {}
        self._upright: set[Path] = set()

    def check(self, record: EpisodeRecord, key: str) -> None:
        """Compare a camera's video of an episode with the metadata, without decoding any frame but the first.

        Raises:
            DatasetError: if it is missing or incomplete, has frames of another size, or lacks the episode's.
        """
        path = record.video(key).path
        video = self._pool.get(path)
        height, width, _ = self._meta.features[key].shape
        if video.size != (height, width):
            raise _wrong_size(path, key, video.size, (height, width))
        self._frame_numbers(record, key)
        if path not in self._upright:
            video.check_upright()
            self._upright.add(path)

    def fill(self, out: NDArray[Any], key: str, records: Sequence[EpisodeRecord], steps: NDArray[np.int64]) -> None:
        """Put a camera's frames at steps (B, T) of B episodes into `out` (B, T, H, W, 3); depth is (B, T, H, W, 1).

        What the cache lacks is decoded file by file and in order, so that no frame is decoded twice.

        Raises:
            DatasetError: if the episode's frames cannot be identified, or a video is damaged or has frames of
                another size.
        """
        wanted: dict[Path, dict[int, list[tuple[int, int]]]] = {}
        for row, record in enumerate(records):
            numbers = self._frame_numbers(record, key)
            asked = numbers + steps[row] if isinstance(numbers, int) else numbers[steps[row]]
            places = wanted.setdefault(record.video(key).path, {})
            for step, number in enumerate(asked.tolist()):
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
            if not missing:
                continue
            for number, frame in self._decoded(path, key, sorted(missing)):
                if frame.shape != out.shape[2:]:
                    raise _wrong_size(path, key, frame.shape[:2], out.shape[2:4])
                self._cache.put((path, number), frame)
                for target in places[number]:
                    out[target] = frame

    def _decoded(self, path: Path, key: str, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[Any]]]:
        video, depth = self._pool.get(path), self._meta.features[key].depth
        if depth is None:
            yield from video.decode(numbers)
            return
        for number, levels in video.decode_levels(numbers, 16 if depth.code is None else 12):
            yield number, metres_of_levels(levels, depth, f"{path}: {key!r} frame {number}")

    def _frame_numbers(self, record: EpisodeRecord, key: str) -> int | NDArray[np.int64]:
        """Numbers of an episode's frames in its file, or that of the first if the others follow one by one."""
        known = self._numbers.get((key, record.index))
        if known is None:
            span = record.video(key)
            try:
                numbers = self._plan(key, span.path).numbers(
                    (span.start_s, record.length), lambda: self._columns.times_s(record)
                )
            except DisagreementError as error:
                raise DatasetError(f"{span.path}: episode {record.index}, {key!r}: {error}") from None
            follow = numbers[-1] - numbers[0] == len(numbers) - 1
            known = self._numbers[key, record.index] = int(numbers[0]) if follow else numbers
        return known

    def _plan(self, key: str, path: Path) -> FilePlan:
        plan = self._plans.get((key, path))
        if plan is None:
            times_s = self._pool.index(path).times_s
            plan = self._plans[key, path] = FilePlan(times_s, self._spans[key, path], self._meta.fps)
            if len(self._plans) > _MAX_PLANS:
                self._plans.popitem(last=False)
        return plan

    @cached_property
    def _spans(self) -> Mapping[tuple[str, Path], list[tuple[float, int]]]:
        """Start [s] and length of all episodes of a camera in a file."""
        spans: dict[tuple[str, Path], list[tuple[float, int]]] = {}
        for record in self._meta.episodes:
            for key, span in record.videos.items():
                if record.length > 0:
                    spans.setdefault((key, span.path), []).append((span.start_s, record.length))
        return spans


def _wrong_size(path: Path, key: str, found: tuple[int, ...], declared: tuple[int, ...]) -> DatasetError:
    return DatasetError(
        f"{path}: frames of height and width {found}, but meta/info.json declares {declared} for {key!r}; correct it"
    )
