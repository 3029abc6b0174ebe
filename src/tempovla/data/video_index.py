"""When each frame of a video file is shown, and where decoding must begin to reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError

_MP4_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


@dataclass(frozen=True)
class VideoIndex:
    """The N frames that a file shows, numbered from 0 in the order of display, and its K entry points.

    Attributes:
        pts: (N,) presentation times in units of the stream's time base, increasing.
        time_base_s: that unit [s].
        entry: (N,) for every frame the last entry point from which it can be decoded.
        entry_number: (K,) number of the frame that each entry point shows, or would show if it were not hidden.
        entry_pts: (K,) presentation times of the entry points.
        entry_seek: (K,) where to seek for each of them, in units of the time base.
        hidden: how many frames are stored and not shown, such as those that an edit list cuts off.
        is_reordered: whether frames are shown in another order than that in which they are decoded.
    """

    pts: NDArray[np.int64]
    time_base_s: float
    entry: NDArray[np.int32]
    entry_number: NDArray[np.int64]
    entry_pts: NDArray[np.int64]
    entry_seek: NDArray[np.int64]
    hidden: int
    is_reordered: bool

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """(N,) presentation times [s]."""
        return self.pts * np.float64(self.time_base_s)


def build_index(path: Path, container: InputContainer, stream: VideoStream) -> VideoIndex:
    """Find out when each frame of a stream is shown, without decoding any.

    The container's own index tells decoding times. Only where nothing is reordered or hidden are these the times of
    display too; elsewhere all packets are read once.

    Raises:
        DatasetError: if the file ends before its last frame, holds no frame, or does not tell when each is shown.
    """
    entries = stream.index_entries
    if entries and max(entry.pos + entry.size for entry in entries) > path.stat().st_size:
        raise DatasetError(f"{path}: no complete video file (it ends before its last frame); copy it again")
    # One row a packet, in the order of decoding: presentation time, decoding time, key frame, hidden.
    rows = [(entry.timestamp, entry.timestamp, entry.is_keyframe, entry.is_discard) for entry in entries]
    if not _index_tells_display_times(path, container, stream, rows):
        rows = list(_packets(path, container, stream))
    if not rows:
        raise DatasetError(f"{path}: no complete video file (it holds no frame); copy it again")
    assert stream.time_base is not None
    table = np.fromiter(chain.from_iterable(rows), np.int64, 4 * len(rows)).reshape(-1, 4)
    return _index(path, table, float(stream.time_base))


def _index(path: Path, table: NDArray[np.int64], time_base: float) -> VideoIndex:
    shown = np.flatnonzero(table[:, 3] == 0)
    order = shown[np.argsort(table[shown, 0], kind="stable")]
    pts = table[order, 0]
    if not len(pts) or (np.diff(pts) == 0).any():
        same = f"two frames at {pts[np.argmin(np.diff(pts))] * time_base:.3f} s" if len(pts) else "no frame is shown"
        raise DatasetError(f"{path}: {same}; encode the video again, e.g. ffmpeg -i IN OUT.mp4")
    keys = np.flatnonzero(table[:, 2])
    keys = keys if len(keys) and keys[0] == 0 else np.r_[0, keys]
    # A frame that is decoded after a key frame but shown before it leans on what came before that key frame.
    entry = np.searchsorted(keys, order, side="right") - 1
    while (early := (table[keys[entry], 0] > pts) & (entry > 0)).any():
        entry[early] -= 1
    key_pts, key_dts = table[keys, 0], table[keys, 1]
    # A seek looks for the last key frame that is decoded at or before a time; some demuxers look at its display, too.
    before_next = np.r_[key_dts[1:] - 1, np.iinfo(np.int64).max]
    seek = np.maximum(np.minimum(key_pts, before_next), key_dts)
    number = np.searchsorted(pts, key_pts)
    is_reordered = bool((np.diff(order) < 0).any())
    hidden = len(table) - len(pts)
    return VideoIndex(pts, time_base, entry.astype(np.int32), number, key_pts, seek, hidden, is_reordered)


def _packets(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, int, bool, bool]]:
    for packet in container.demux(stream):
        if packet.size == 0:
            continue  # the empty packet that ends a file
        if packet.pts is None:
            raise DatasetError(
                f"{path}: it has no times of its frames; encode the video again, e.g. ffmpeg -i IN OUT.mp4"
            )
        dts = packet.pts if packet.dts is None else packet.dts
        yield packet.pts, dts, packet.is_keyframe, packet.is_discard


def _index_tells_display_times(
    path: Path, container: InputContainer, stream: VideoStream, rows: list[tuple[int, int, bool, bool]]
) -> bool:
    """Whether frames are shown when the container's index says that they are decoded."""
    if "mp4" not in container.format.name or len(rows) != stream.frames or any(row[3] for row in rows):
        return False
    with path.open("rb") as file:
        boxes = set(_boxes(file, 0, path.stat().st_size))
    return b"stts" in boxes and not boxes & {
        b"ctts",
        b"mvex",
    }  # mvex: frames lie in fragments, with tables of their own


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Names of the boxes of an mp4 file, down to the tables of samples (ISO/IEC 14496-12)."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, name, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), start + 16
        elif size == 0:
            size = end - start
        if size < 8:
            return
        yield name
        if name in _MP4_PARENTS:
            yield from _boxes(file, content, min(start + size, end))
        start += size
