"""Small H.264 videos that every browser plays, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tempovla.storage.whole import new_file

SCALE = 3
"""Whole factor by which the sides of pictures are enlarged, so that small ones look well."""


def encode_mp4(
    frames: NDArray[np.uint8], path: Path | str, rate_hz: float, scale: int = SCALE, quality: int = 26
) -> Path:
    """Write frames as an H.264 mp4 (yuv420p, index in front), enlarged so that small camera pictures look well.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T >= 1; cameras side by side are concatenated along W by the caller.
        path: the mp4 to write; replaced in one step.
        rate_hz: frames a second.
        scale: whole factor by which Lanczos interpolation enlarges both sides.
        quality: x264's constant rate factor; lower is better and larger.

    Raises:
        ValueError: if the frames are not (T, H, W, 3) uint8, or there are none.
        NotWrittenError: if the disk does not take it.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; encode_mp4 wants uint8 (T, H, W, 3) with T >= 1")
    path = Path(path)
    height, width = (scale * side // 2 * 2 for side in frames.shape[1:3])  # yuv420p needs even sides
    with new_file(path) as part, av.open(part, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate_hz).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(quality), "preset": "medium", "tune": "animation"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(width, height, "yuv420p", interpolation="LANCZOS")))
        container.mux(stream.encode())
    return path


def enlarged(frames: NDArray[np.uint8], scale: int = SCALE) -> NDArray[np.uint8]:
    """Return pictures (T, H, W, 3) uint8 RGB as (T, scale * H, scale * W, 3), enlarged by Lanczos interpolation."""
    height, width = (scale * side for side in frames.shape[1:3])
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames]
    larger = [picture.reformat(width, height, "rgb24", interpolation="LANCZOS") for picture in pictures]
    return np.stack([picture.to_ndarray() for picture in larger])


def side_by_side(cameras: Sequence[NDArray[np.uint8]], gap: int = 1) -> NDArray[np.uint8]:
    """Join (T, H, W, 3) pictures of several cameras into (T, H, sum W + gaps, 3), with a black gap of `gap` pixels.

    Raises:
        ValueError: if the cameras differ in T or H.
    """
    first = cameras[0]
    if any(camera.shape[:2] != first.shape[:2] for camera in cameras):
        raise ValueError(f"cameras have shapes {[camera.shape for camera in cameras]}; T and H must be equal")
    black = np.zeros((*first.shape[:2], gap, 3), np.uint8)
    parts = [part for camera in cameras for part in (black, camera)][1:]
    return np.concatenate(parts, axis=2)
