"""Random access to frames of video files: a frame is the one whose own presentation time is the asked one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.layout import MOST_PIXELS
from tempovla.data.parquet import first_line
from tempovla.data.video_encode import open_video
from tempovla.data.video_index import VideoIndex, build_index
from tempovla.storage.json_files import is_lfs_pointer, lfs_problem
from tempovla.storage.paths import regular_file

JITTER = 0.1
"""How far a frame of a regular video may lie off its even place, in frame periods."""

_PROBE = 16
"""How many frames tell whether a file's times are right."""

_EXACT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


class VideoFile:
    """One open file and the state of its decoder. Frames are numbered from 0 in the order of display.

    Args:
        path: the file.
        index: results of an earlier opening, which are reused.

    Raises:
        DatasetError: if the file is missing, truncated or holds no video.
    """

    def __init__(self, path: Path, index: VideoIndex | None = None) -> None:
        self.path = path
        if Path(path).exists():
            regular_file(Path(path), remedy="copy the dataset again", error=DatasetError)
        try:
            if path.exists():
                regular_file(path, remedy="copy the dataset again", error=DatasetError)
            self._open()
            self.index = index or build_index(path, self._container, self._stream)
        except FileNotFoundError:
            raise DatasetError(f"{path}: missing, though the metadata refer to it; copy the dataset again") from None
        except (av.FFmpegError, IndexError, UnicodeDecodeError) as error:  # the last from texts in its header
            if is_lfs_pointer(Path(path)):
                raise DatasetError(lfs_problem(Path(path))) from None
            raise DatasetError(f"{path}: no complete video file ({first_line(error)}); copy it again") from None
        self._reformatter = VideoReformatter()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next = -1  # number of the frame that the decoder gives next; -1 when only a seek can tell
        if index is None:
            self._check_order()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self._stream.height, self._stream.width

    def is_regular(self, frames: int, fps: float) -> bool:
        """Return whether the video has exactly this number of frames, none hidden, the first at time 0 and the others
        evenly spaced.
        """
        if len(self) != frames or self.index.hidden:
            return False
        return bool(np.abs(self.index.times_s - np.arange(frames) / fps).max() < JITTER / fps)

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()

    def decode(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode frames, given by increasing numbers, to (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: if the file ends before a frame, or is damaged.
        """
        for number in numbers:
            frame = self._decode_one(number)
            self._refuse_turned(frame)
            flags = _EXACT if _is_deep(frame.format.name) else None
            # With threads of its own, freeing it in a forked worker would wait for them for ever.
            image = self._reformatter.reformat(frame, format="rgb24", interpolation=flags, threads=1).to_ndarray()
            yield number, np.asarray(image, dtype=np.uint8)

    def decode_levels(self, numbers: Sequence[int], bits: int) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """Decode frames, given by increasing numbers, to the (H, W, 1) levels of their first plane, as they are.

        Raises:
            DatasetError: if the file ends before a frame, is damaged, or has levels of another size.
        """
        for number in numbers:
            frame = self._decode_one(number)
            self._refuse_turned(frame)
            name = frame.format.name
            if (
                frame.format.components[0].bits != bits
                or not name.startswith(("gray", "yuv"))
                or not name.endswith("le")
            ):
                raise DatasetError(
                    f"{self.path}: frames of the pixel format {name}, not of {bits} bits, though meta/info.json says "
                    "that it holds depth; correct it"
                )
            plane = frame.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint16).reshape(-1, plane.line_size // 2)
            yield number, rows[: frame.height, : frame.width, None].copy()

    def check_upright(self) -> None:
        """Decode the first frame.

        Raises:
            DatasetError: if frames are to be turned or mirrored when they are shown, or the first is damaged.
        """
        self._refuse_turned(self._decode_one(0))

    def _refuse_turned(self, frame: av.VideoFrame) -> None:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return
        across, down_across, _, across_down, down = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if across > 0 and down > 0 and down_across == across_down == 0:
            return
        what = f"turned by {frame.rotation} degrees" if across * down > down_across * across_down else "mirrored"
        raise DatasetError(
            f"{self.path}: its frames are to be {what} when shown; encode it as it is shown, e.g. ffmpeg -i IN OUT.mp4"
        )

    def _check_order(self) -> None:
        """Refuse times that follow the order of decoding though the codec shows frames in another one.

        Some writers number packets as they leave the encoder, and packed B-frames of MPEG-4 end up so.
        """
        if self.index.is_reordered or not self._stream.codec_context.has_b_frames:
            return
        self._seek(0)
        if self._advance(min(_PROBE, len(self)) - 1) is None:
            raise DatasetError(
                f"{self.path}: its frames do not follow each other in the order of their times ({self._reason}); "
                "encode it again, e.g. ffmpeg -i IN OUT.mp4"
            )

    def _decode_one(self, number: int) -> av.VideoFrame:
        entry = int(self.index.entry[number])
        if self.index.entry_number[entry] <= self._next <= number:
            frame = self._advance(number)
            if frame is not None:
                return frame
        for begin in self._attempts(entry):
            begin()
            frame = self._advance(number)
            if frame is not None:
                return frame
        raise DatasetError(
            f"{self.path}: damaged or truncated at frame {number}, shown at {self.index.times_s[number]:.3f} s "
            f"({self._reason}); copy it again, or encode it again, e.g. ffmpeg -i IN OUT.mp4"
        )

    def _attempts(self, entry: int) -> Iterator[Callable[[], None]]:
        """Where decoding may begin: some files mark key frames from which what is behind them cannot be decoded."""
        back = 1
        while entry > 0:
            yield partial(self._seek, entry)
            entry, back = entry - back, 2 * back
        yield partial(self._seek, 0)
        yield self._restart

    def _open(self) -> None:
        self._container = open_video(self.path)
        self._stream = _main_stream(self.path, self._container.streams.video)
        if self._stream.codec_context is None:
            raise DatasetError(f"{self.path}: its header names no known codec; copy it again")
        height, width = self.size
        if height * width > MOST_PIXELS:
            raise DatasetError(
                f"{self.path}: declares frames of {height} x {width} pixels, and at most {MOST_PIXELS:,} are read; "
                "encode it again, or copy it again"
            )
        self._stream.codec_context.thread_count = 1  # more threads delay the first frame after every seek
        self._stream.codec_context.flags &= ~Flags.output_corrupt

    def _restart(self) -> None:
        """Begin at the start without a seek, as not every file can be sought in."""
        self._next, self._reason = -1, "a frame is missing"
        self._container.close()
        self._open()
        self._frames = self._decoded(self._container, self._stream, int(self.index.entry_pts[0]))

    def _seek(self, entry: int) -> None:
        self._next, self._reason = -1, "a frame is missing"
        try:
            self._container.seek(int(self.index.entry_seek[entry]), stream=self._stream)
        except av.FFmpegError as error:
            self._frames, self._reason = iter(()), first_line(error)
        else:
            self._frames = self._decoded(self._container, self._stream, int(self.index.entry_pts[entry]))

    @staticmethod
    def _decoded(container: InputContainer, stream: VideoStream, first_pts: int) -> Iterator[av.VideoFrame]:
        """Frames from where a container stands, or none if it stands behind the entry point.

        This knows no `VideoFile`, as the two would be a cycle that is freed late, perhaps in a forked process.
        """
        has_begun = False
        for packet in container.demux(stream):
            if not has_begun and (packet.pts is None or packet.pts > first_pts):
                return
            has_begun = True
            yield from packet.decode()

    def _advance(self, number: int) -> av.VideoFrame | None:
        """Decode on up to a frame; None if the decoder leaves it out."""
        pts, following = self.index.pts, self._next
        wanted, self._next = int(pts[number]), -1
        try:
            for frame in self._frames:
                if frame.pts is None or frame.is_corrupt or frame.pts > wanted:
                    break
                found = int(np.searchsorted(pts, frame.pts))
                if frame.pts != pts[found]:
                    continue  # it is hidden
                # The first frame may be any; from there on none may be left out, for then times and frames mismatch.
                if following not in (-1, found):
                    break
                following = found + 1
                if found == number:
                    self._next = following
                    return frame
        except av.FFmpegError as error:
            self._reason = first_line(error)
        return None


@cache
def _is_deep(pix_fmt: str) -> bool:
    """Whether a pixel has more than 8 bits a colour: the usual way to 8 bits rounds down more than once."""
    return any(component.bits > 8 for component in av.VideoFormat(pix_fmt).components)


def _main_stream(path: Path, streams: Sequence[VideoStream]) -> VideoStream:
    """The stream of moving pictures; pictures that are attached, such as a cover, are none.

    Raises:
        IndexError: if there is none.
        DatasetError: if there are several, and none of them or more than one is marked as the default.
    """
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise IndexError("it holds no video")
    if len(moving) > 1:
        marked = [stream for stream in moving if stream.disposition & Disposition.default]
        if len(marked) != 1:
            raise DatasetError(
                f"{path}: {len(moving)} videos in one file, and it is not known which is the camera's; keep one, e.g. "
                "ffmpeg -i IN -map 0:v:0 -c copy OUT.mp4"
            )
        return marked[0]
    return moving[0]


class VideoPool:
    """Keeps the files used last open, as opening one costs more than a random frame.

    Args:
        max_open: how many files stay open at a time.
        max_indexed: of how many frames, in all files, it is kept when they are shown.
    """

    def __init__(self, max_open: int = 16, max_indexed: int = 2_000_000) -> None:
        self._max_open, self._max_indexed = max_open, max_indexed
        self._files: OrderedDict[Path, VideoFile] = OrderedDict()
        self._indices: OrderedDict[Path, VideoIndex] = OrderedDict()
        self._indexed = 0

    def get(self, path: Path) -> VideoFile:
        """Return an open file."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = VideoFile(path, self._indices.get(path))
            self._keep(path, file.index)
            if len(self._files) > self._max_open:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file

    def index(self, path: Path) -> VideoIndex:
        """When the frames of a file are shown; it need not be open for that."""
        index = self._indices.get(path)
        return index if index is not None else self.get(path).index

    def _keep(self, path: Path, index: VideoIndex) -> None:
        self._indexed += 0 if path in self._indices else len(index)
        self._indices[path] = index
        self._indices.move_to_end(path)
        while self._indexed > self._max_indexed and len(self._indices) > 1:
            self._indexed -= len(self._indices.popitem(last=False)[1])

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()
