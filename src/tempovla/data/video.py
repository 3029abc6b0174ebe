"""Random access to frames of mp4 files: seek to the key frame at or before the wanted one, decode from there."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.parquet import first_line

JITTER = 0.1
"""How far ahead of the asked time a frame may lie and still count as at it, in frame periods."""


class VideoFile:
    """One open file and the state of its decoder. Frames are numbered from 0 in the order of display.

    Raises:
        DatasetError: if the file is missing, truncated or holds no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except FileNotFoundError:
            raise DatasetError(f"{path}: missing, though the metadata refer to it; copy the dataset again") from None
        except (av.FFmpegError, IndexError) as error:
            raise DatasetError(f"{path}: no complete video file ({first_line(error)}); copy it again") from None
        self._stream.codec_context.thread_count = 1  # more threads delay the first frame after every seek
        entries = [(e.timestamp, e.is_keyframe, e.pos + e.size) for e in self._stream.index_entries]
        if not entries:
            raise DatasetError(f"{path}: the video has no index; remux it, e.g. ffmpeg -i IN -c copy OUT.mp4")
        if max(end for _, _, end in entries) > path.stat().st_size:
            raise DatasetError(f"{path}: no complete video file (it ends before its last frame); copy it again")
        assert self._stream.time_base is not None
        # The index holds decoding times, which trail display times by a constant where frames are reordered.
        delay = (self._stream.start_time or 0) - entries[0][0]
        self._pts = sorted(timestamp + delay for timestamp, _, _ in entries)
        self._key_frames = [i for i, (_, is_key, _) in enumerate(entries) if is_key] or [0]
        self._times_s = np.array(self._pts, dtype=np.float64) * float(self._stream.time_base)
        self._reformatter = VideoReformatter()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next = -1  # number of the frame that the decoder gives next; -1 when only a seek can tell

    def __len__(self) -> int:
        return len(self._pts)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self._stream.height, self._stream.width

    def is_regular(self, frames: int, fps: float) -> bool:
        """Whether it has just so many frames, the first at time 0 and the others evenly spaced."""
        return len(self) == frames and bool(np.abs(self._times_s - np.arange(frames) / fps).max() < JITTER / fps)

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()

    def numbers(self, times_s: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
        """Numbers of the frames shown at given times [s] of the file.

        Raises:
            DatasetError: if the file has no frame there.
        """
        number = np.searchsorted(self._times_s, times_s + JITTER / fps, side="right") - 1
        age_s = times_s - self._times_s[np.maximum(number, 0)]
        lost = (number < 0) | (age_s > (1 - JITTER) / fps)
        if lost.any():
            raise DatasetError(
                f"{self.path}: no frame at {times_s[lost][0]:.3f} s (it has {len(self)} frames, the last at "
                f"{self._times_s[-1]:.3f} s); the video and meta/ contradict each other, copy the dataset again"
            )
        return number

    def decode(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode frames, given by increasing numbers, to (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: if the file ends before a frame, or is damaged.
        """
        for number in numbers:
            try:
                frame = self._decode_one(number)
            except av.FFmpegError as error:
                raise self._damaged(number, first_line(error)) from None
            image = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
            yield number, np.asarray(image, dtype=np.uint8)

    def _decode_one(self, number: int) -> av.VideoFrame:
        key_frame = self._key_frames[max(bisect_right(self._key_frames, number) - 1, 0)]
        if not key_frame <= self._next <= number:
            self._container.seek(self._pts[key_frame], stream=self._stream)
            self._frames = self._container.decode(self._stream)
        wanted = self._pts[number]
        for frame in self._frames:
            if frame.pts is not None and frame.pts >= wanted:
                self._next = number + 1
                return frame
        raise self._damaged(number, "it ends before")

    def _damaged(self, number: int, reason: str) -> DatasetError:
        self._next = -1
        return DatasetError(f"{self.path}: damaged or truncated at frame {number} ({reason}); copy it again")


class VideoPool:
    """Keeps the files used last open, as opening one costs more than a random frame.

    Args:
        max_open: how many files stay open at a time.
    """

    def __init__(self, max_open: int = 16) -> None:
        self._max_open = max_open
        self._files: OrderedDict[Path, VideoFile] = OrderedDict()

    def get(self, path: Path) -> VideoFile:
        """An open file."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = VideoFile(path)
            if len(self._files) > self._max_open:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()
