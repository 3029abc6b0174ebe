"""Images: conversion of a camera's frames to tensors of the model's size."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import IMAGE_KEY_PREFIX
from tempovla.timeline.sample import map_tracks

LARGEST_SIDE = 8192
"""Of a picture that a model sees [px]."""
PictureSize = int | tuple[int, int]
"""Side of a square picture, or height and width [px]."""


def check_side(size: object) -> None:
    """Refuse a side of pictures that none has.

    Raises:
        ValueError: if it is no whole number from 1 to `LARGEST_SIDE`.
    """
    if not (isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= LARGEST_SIDE):
        raise ValueError(f"size={size!r} of pictures must be a whole number from 1 to {LARGEST_SIDE:,} pixels")


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str):
        raise ValueError(f"prefix={prefix!r} of streams of pictures must be text, such as {IMAGE_KEY_PREFIX}")


def sides(size: PictureSize) -> tuple[int, int]:
    """Return height and width of a size, which is the side of a square or both of them."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def resize_frames(frames: Tensor, size: PictureSize) -> Tensor:
    """Resize uint8 frames (N, 3, H, W) to (N, 3, *size), antialiased; a frame of that size is left untouched.

    A whole-number reduction is a box average; anything else is bilinear with antialiasing. The aspect ratio is that of
    `size`: a model sees the whole picture.

    Args:
        frames: (N, 3, H, W) uint8.
        size: side of a square, or height and width [px].
    """
    height, width = frames.shape[-2:]
    rows, columns = sides(size)
    if (height, width) == (rows, columns):
        return frames
    if height % rows == 0 and width % columns == 0:
        resized = box_average(frames, size)
    else:
        resized = F.interpolate(frames.float(), (rows, columns), mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def box_average(frames: Tensor, size: PictureSize) -> Tensor:
    """Return the mean over equal boxes of uint8 frames (N, 3, H, W), as float32 (N, 3, *size); H and W are multiples of
    the sizes.

    Strided sums in whole numbers are exact and, on a CPU, 3 times as fast as average pooling.
    """
    (height, width), (high, wide) = frames.shape[-2:], sides(size)
    rows = frames.unflatten(2, (high, height // high)).unbind(3)
    columns = functools.reduce(torch.add, [row.int() for row in rows]).unflatten(3, (wide, width // wide)).unbind(4)
    return functools.reduce(torch.add, columns) / ((height // high) * (width // wide))


@dataclass(frozen=True)
class ResizeImages:
    """Frames (B, T, H, W, 3) uint8 become (B, T, 3, height, width) uint8, whatever their stream is called.

    Attributes:
        size: side of the square picture that the model sees, or its height and width [px]; None leaves the size to the
            model.
        prefix: how keys start whose streams must be frames.
        sizes: those of streams that differ from `size`, by key.
    """

    size: PictureSize | None
    prefix: str = IMAGE_KEY_PREFIX
    sizes: Mapping[str, PictureSize] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for size in (self.size, *self.sizes.values()):
            for side in () if size is None else sides(size):
                check_side(side)
        _check_prefix(self.prefix)

    def _resize(self, key: str, track: Track) -> Track:
        if not (key.startswith(self.prefix) or track.holds_frames):
            return track
        value = track.value
        if value.dtype != torch.uint8 or value.dim() != 5 or value.shape[-1] != 3:
            raise ValueError(
                f"stream {key!r} is {tuple(value.shape)} {value.dtype}; images must be uint8 (B, T, H, W, 3) RGB"
            )
        size = self.sizes.get(key, self.size)
        if size is None:
            return track.with_value(value.movedim(-1, -3))
        frames = value.flatten(0, 1).permute(0, 3, 1, 2)
        return track.with_value(resize_frames(frames, size).unflatten(0, value.shape[:2]))

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Resize past, present and future frames."""
        return context.map_tracks(self._resize), map_tracks(future, self._resize)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return {name: value for name, value in asdict(self).items() if name != "sizes" or value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResizeImages:
        """Read what `to_json` wrote."""
        read: ResizeImages = config_from_json(cls, data, "resize_images")
        pairs = {key: tuple(size) if isinstance(size, list) else size for key, size in read.sizes.items()}
        return replace(read, sizes=pairs)


@dataclass(frozen=True)
class CropImages:
    """The middle of pictures (B, T, 3, H, W), as models see them that learned from random crops of that size.

    Attributes:
        area: share of the picture's area that is left, in (0, 1]; sides shrink by its root, to whole pixels.
        prefix: how keys start whose streams must be frames; any others that are frames are cropped, too.
    """

    area: float
    prefix: str = IMAGE_KEY_PREFIX

    def __post_init__(self) -> None:
        if not 0 < self.area <= 1:
            raise ValueError(f"area={self.area} of a crop must lie in (0, 1]")
        _check_prefix(self.prefix)

    def _crop(self, key: str, track: Track) -> Track:
        if not (key.startswith(self.prefix) or track.holds_frames):
            return track
        if track.value.dim() != 5 or track.value.shape[2] != 3:
            shape = tuple(track.value.shape)
            raise ValueError(
                f"stream {key!r} is {shape}; it must be (B, T, 3, H, W): put crop_images after resize_images"
            )
        for dim in (-2, -1):
            length = track.value.shape[dim]
            kept = max(1, round(length * self.area**0.5))
            track = track.with_value(track.value.narrow(dim, (length - kept) // 2, kept))
        return track

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Crop past, present and future frames."""
        return context.map_tracks(self._crop), map_tracks(future, self._crop)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CropImages:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "crop_images")
