"""Points of LiDAR and radar: the volume that a model looks at, how many of them it sees, and in which units."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.timeline.sample import map_tracks

MOST_POINTS = 1 << 20
"""Of one reading of a sensor that a model sees."""


def _check_points(key: str, track: Track, columns: int) -> Tensor:
    """Return which points are there, (B, T, N) bool.

    Raises:
        ValueError: if the stream holds no points, or points of fewer numbers.
    """
    if track.element_valid is None or track.value.dim() != 4 or track.value.shape[-1] < columns:
        raise ValueError(
            f"stream {key!r} is {tuple(track.value.shape)}; points must be (B, T, N, F) with F >= {columns}, and "
            "(B, T, N) that says which of them are there"
        )
    return track.element_valid


class _OfPoints:
    """Base of the transforms of one stream of points, which leave everything else as it is."""

    key: str

    def changed(self, track: Track) -> Track:
        """Return the stream with its points changed."""
        raise NotImplementedError

    def _change(self, key: str, track: Track) -> Track:
        return self.changed(track) if key == self.key else track

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Change past, present and future points."""
        return context.map_tracks(self._change), map_tracks(future, self._change)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action


@dataclass(frozen=True)
class CropPoints(_OfPoints):
    """Points outside a box are absent.

    Attributes:
        key: the stream.
        low: least x, y and further coordinates that are kept.
        high: where the box ends, which is not kept.
    """

    key: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        ordered = len(self.low) == len(self.high) and all(a < b for a, b in zip(self.low, self.high, strict=True))
        if not self.low or not ordered:
            raise ValueError(
                f"{self.key!r}: low={list(self.low)} and high={list(self.high)} are no box; give as many numbers in "
                "both, each of low below that of high"
            )

    def changed(self, track: Track) -> Track:
        """Return the stream with the points that lie outside absent."""
        there, size = _check_points(self.key, track, len(self.low)), len(self.low)
        low, high = (torch.tensor(side, device=track.value.device) for side in (self.low, self.high))
        place = track.value[..., :size]
        inside = ((place >= low) & (place < high)).all(dim=-1) & there
        return replace(track, value=torch.where(inside[..., None], track.value, 0.0), element_valid=inside)

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CropPoints:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "crop_points")


@dataclass(frozen=True)
class LimitPoints(_OfPoints):
    """At most `max_points` points a reading, those that are there first.

    Where there are more, they are thinned evenly in their order, so that a scan keeps its extent. Nothing is random:
    training and control see the same points.

    Attributes:
        key: the stream.
        max_points: size of the third axis.
    """

    key: str
    max_points: int

    def __post_init__(self) -> None:
        if not 1 <= self.max_points <= MOST_POINTS:
            raise ValueError(f"{self.key!r}: max_points={self.max_points} must lie between 1 and {MOST_POINTS:,}")

    def changed(self, track: Track) -> Track:
        """Return the stream with (B, T, max_points, F)."""
        there = _check_points(self.key, track, 1)
        if not there.shape[-1]:  # a cloud may come as (0, F)
            batch, steps, _, size = track.value.shape
            return replace(
                track,
                value=track.value.new_zeros(batch, steps, self.max_points, size),
                element_valid=there.new_zeros(batch, steps, self.max_points),
            )
        count = there.sum(dim=-1, keepdim=True)
        order = torch.argsort(~there, dim=-1, stable=True)
        place = torch.arange(self.max_points, device=there.device)
        thinned = torch.where(count > self.max_points, place * count // self.max_points, place)
        index = order.gather(-1, thinned.clamp(max=there.shape[-1] - 1))
        kept = place < count
        value = track.value.gather(-2, index[..., None].expand(*index.shape, track.value.shape[-1]))
        return replace(track, value=torch.where(kept[..., None], value, 0.0), element_valid=kept)

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LimitPoints:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "limit_points")


@dataclass(frozen=True)
class ScalePoints(_OfPoints):
    """Some numbers of every point are divided by constants, such as an intensity of up to 255.

    Attributes:
        key: the stream.
        scale: what each number of a point is divided by.
    """

    key: str
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.scale or not all(isfinite(number) and number > 0 for number in self.scale):
            raise ValueError(f"{self.key!r}: scale={list(self.scale)} must be finite numbers above 0, one a column")

    def changed(self, track: Track) -> Track:
        """Return the stream with its numbers divided.

        Raises:
            ValueError: if there are more or fewer numbers.
        """
        _check_points(self.key, track, len(self.scale))
        if track.value.shape[-1] != len(self.scale):
            raise ValueError(
                f"stream {self.key!r} has {track.value.shape[-1]} numbers a point, and its scale {len(self.scale)}; "
                "give one for each"
            )
        scale = torch.tensor(self.scale, device=track.value.device)
        return track.with_value(track.value / scale)

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ScalePoints:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "scale_points")
