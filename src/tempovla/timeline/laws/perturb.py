"""Samples that are changed on purpose, to test the laws."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from tempovla.timeline.noise import row_normal, row_uniform
from tempovla.timeline.sample import TimelineSample, map_tracks
from tempovla.timeline.track import Track, Tracks

FILLS: dict[str, float] = {"NaN": math.nan, "infinite": math.inf, "huge": 1e30, "zero": 0.0}
"""Values to put where `valid` is False; integers take their type's largest value instead of infinities."""


def fill_invalid(track: Track, fill: float) -> Track:
    """Return the track with `fill` wherever `valid` is False, and in points that are not there."""
    value = track.value
    filling = fill if value.is_floating_point() or fill == 0 else _largest_integer(value.dtype)
    valid = track.valid if track.element_valid is None else track.valid[..., None] & track.element_valid
    kept = valid.reshape(valid.shape + (1,) * (value.dim() - valid.dim()))
    return track.with_value(torch.where(kept, value, torch.full_like(value, filling)))


def with_gaps(sample: TimelineSample, fraction: float = 0.3, seed: int = 0) -> TimelineSample:
    """Return the sample with about a `fraction` of all entries of all tracks declared invalid, values untouched."""
    draws = _Draws(seed)

    def punch(key: str, track: Track) -> Track:
        kept = draws.uniform(track.valid.shape).to(track.valid.device) >= fraction
        return replace(track, valid=track.valid & kept)

    return sample.map_tracks(punch)


def has_gaps(sample: TimelineSample) -> bool:
    """Return whether any entry is invalid."""
    context = sample.context
    tracks = (*context.past.values(), *context.now.values(), *sample.future.values())
    return not all(bool(track.valid.all()) for track in tracks)


def scramble(tracks: Tracks, seed: int = 0, except_keys: Collection[str] = ()) -> dict[str, Track]:
    """Return the tracks with other finite values of the same spread, validity untouched."""
    draws = _Draws(seed)

    def redraw(key: str, track: Track) -> Track:
        if key in except_keys:
            return track
        value = track.value
        if value.is_floating_point():
            other = value + 3.0 * draws.normal(value.shape).to(value)
        else:
            other = (draws.uniform(value.shape) * min(_largest_integer(value.dtype) + 1, 1 << 16)).to(value)
        return track.with_value(other)

    return map_tracks(tracks, redraw)


class _Draws:
    """A fresh stream of noise for each draw."""

    def __init__(self, seed: int) -> None:
        self.seed = torch.tensor([seed], dtype=torch.int64)
        self.count = 0

    def uniform(self, shape: torch.Size) -> Tensor:
        self.count += 1
        return row_uniform(self.seed, shape, stream=self.count)[0]

    def normal(self, shape: torch.Size) -> Tensor:
        self.count += 1
        return row_normal(self.seed, shape, stream=self.count)[0]


def _largest_integer(dtype: torch.dtype) -> int:
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max
