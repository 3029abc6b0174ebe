"""Depth: distances of a camera's pixels as tensors of the model's size."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.timeline.sample import map_tracks
from tempovla.transform.image import check_side


def resize_depth(depth: Tensor, size: int) -> Tensor:
    """Resize distances (N, 1, H, W) to (N, 1, size, size); 0 is no reading, and never part of a mean.

    A whole-number reduction is the mean over the readings of each box, 0 where there is none. Anything else takes the
    nearest pixel, as a mean between two surfaces would lie on neither.
    """
    height, width = depth.shape[-2:]
    if (height, width) == (size, size):
        return depth
    if height % size or width % size:
        return F.interpolate(depth, (size, size), mode="nearest-exact")
    boxes = depth.unflatten(-2, (size, height // size)).unflatten(-1, (size, width // size))
    count = (boxes > 0).sum(dim=(-3, -1))
    return torch.where(count > 0, boxes.sum(dim=(-3, -1)) / count.clamp(min=1), 0.0)


@dataclass(frozen=True)
class ResizeDepth:
    """Distances (B, T, H, W, 1) float32 [m] become (B, T, 1, size, size) float32 [m]; what is no reading becomes 0.

    Attributes:
        keys: the streams of depth.
        size: side of the square picture that the model sees [px]; None leaves the size as it is.
        blank: show no reading at all, also where no depth was given, for the baseline of a policy that sees nothing.
            It needs a size.
    """

    keys: tuple[str, ...]
    size: int | None
    blank: bool = False

    def __post_init__(self) -> None:
        if self.size is not None:
            check_side(self.size)
        elif self.blank:
            raise ValueError("size=null of blank depth is no size; give the side of the pictures that the model sees")

    def _resize(self, key: str, track: Track) -> Track:
        if key not in self.keys:
            return track
        value = track.value
        if not value.is_floating_point() or value.dim() != 5 or value.shape[-1] != 1:
            raise ValueError(
                f"stream {key!r} is {tuple(value.shape)} {value.dtype}; depth must be floats (B, T, H, W, 1) in metres"
            )
        if self.blank:
            return self._nothing(value.shape[0], track.offset.tolist(), value.device)
        depth = value.float().movedim(-1, -3).flatten(0, 1)
        return track.with_value(self.resized(depth).unflatten(0, value.shape[:2]))

    def resized(self, depth: Tensor) -> Tensor:
        """Return distances (N, 1, H, W) float32 [m] as the model sees them, (N, 1, size, size)."""
        depth = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0)
        return depth if self.size is None else resize_depth(depth, self.size)

    def _nothing(self, rows: int, offsets: list[int], device: torch.device) -> Track:
        assert self.size is not None
        return Track.of(torch.zeros((), device=device).expand(rows, len(offsets), 1, self.size, self.size), offsets)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Resize past, present and future depth."""
        context = context.map_tracks(self._resize)
        if self.blank:
            missing = [key for key in self.keys if key not in context.now]
            rows = context.batch_size
            now = {**context.now, **{key: self._nothing(rows, [0], context.device) for key in missing}}
            context = replace(context, now=now)
        return context, map_tracks(future, self._resize)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ResizeDepth:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "resize_depth")
