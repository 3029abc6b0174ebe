"""Writing mp4 files: encoding frames, and joining files without encoding them again."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

_MP4_CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "ffv1")


@dataclass(frozen=True)
class VideoConfig:
    """How cameras are encoded.

    Attributes:
        codec: ``libx264`` (H.264, fast) or ``libsvtav1`` (AV1, smaller files).
        crf: constant rate factor; lower is better and larger.
        gop: distance of key frames; 2 makes any frame cheap to reach.
        preset: the encoder's own name for its trade of speed against size.
    """

    codec: Literal["libx264", "libsvtav1"] = "libx264"
    crf: int = 20
    gop: int = 2
    preset: str = "veryfast"

    def options(self) -> dict[str, str]:
        """Return options for the encoder. H.264 frames are not reordered, so that they decode one in, one out."""
        options = {"crf": str(self.crf), "g": str(self.gop), "preset": self.preset}
        if self.codec == "libx264":
            options["bf"] = "0"
        return options


_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,h264,hevc,av1,obu,ivf,mjpeg,gif,nut"
"""Of files that hold their frames themselves, by their names in FFmpeg."""


def frame_rate(fps: float) -> Fraction:
    """Return the exact rate of a video, e.g. 30000/1001 for 29.97."""
    return Fraction(fps).limit_denominator(1001)


def encode(frames: NDArray[np.uint8], fps: float, config: VideoConfig) -> bytes:
    """Return frames (T, H, W, 3) uint8 RGB to an mp4 file."""
    if config.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: the encoder reports its settings on stderr otherwise
    buffer = io.BytesIO()
    height, width = frames.shape[1:3]
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(config.codec, rate=frame_rate(fps), options=config.options())
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def open_video(path: Path) -> InputContainer:
    """Return a video that is open for reading. FFmpeg would also open lists of other files and addresses; these are not
    opened.

    Raises:
        av.FFmpegError: if there is none.
    """
    return av.open(f"file:{path}", options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})


def describe(path: Path) -> dict[str, Any]:
    """Return the ``info`` entry that LeRobot keeps for a camera."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate = stream.base_rate
        assert rate is not None
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec_context.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(rate) if rate.denominator == 1 else float(rate),
            "video.channels": 3,
            "has_audio": False,
        }


def signature(path: Path) -> tuple[Any, ...]:
    """Return the properties in which two files must agree to be joined without encoding."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return context.codec.canonical_name, context.extradata, stream.width, stream.height, stream.time_base


def is_joinable(path: Path) -> bool:
    """Return whether `join` takes over every frame: the file has one video, of a codec for mp4, and tells decoding
    times.
    """
    with open_video(path) as source:
        streams = source.streams.video
        if len(streams) != 1 or streams[0].codec_context.codec.canonical_name not in _MP4_CODECS:
            return False
        return all(packet.dts is not None for packet in source.demux(streams[0]) if packet.size)


def join(paths: Sequence[Path], frames: Sequence[int], fps: float, target: Path) -> None:
    """Write the packets of several files of one signature into one file.

    Args:
        paths: files whose frames are shown from time 0.
        frames: number of frames of each; a file's frames start where those before it end.
        fps: frame rate [Hz].
        target: the file to write.
    """
    with av.open(str(target), "w", format="mp4") as output:
        stream = None
        done, last = 0, None
        for path, count in zip(paths, frames, strict=True):
            with open_video(path) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(template, opaque=True)
                assert template.time_base is not None
                shift = round(done / frame_rate(fps) / template.time_base)
                for packet in source.demux(template):
                    if packet.dts is None or packet.pts is None:
                        continue  # the empty packet that ends a file
                    packet.pts += shift
                    packet.dts += shift
                    if last is not None:  # a short episode may reorder its frames less than the one behind it
                        packet.dts = max(packet.dts, last + 1)
                    last = packet.dts
                    packet.stream = stream
                    output.mux(packet)
            done += count
