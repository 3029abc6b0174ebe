"""A track: one stream's values over a window of time, each with its validity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Track:
    """Values of one stream at offsets around *now*, for a batch of rows.

    Attributes:
        value: (B, T, *F) tensor; where `valid` is False its content means nothing.
        valid: (B, T) bool, True where the value was really observed.
        offset: (T,) int64, control steps relative to now; 0 is the newest observation.
        element_valid: (B, T, N) bool of sets of points (B, T, N, F), True where a point is there; the content of others
            means nothing. None for all other values.
    """

    value: Tensor
    valid: Tensor
    offset: Tensor
    element_valid: Tensor | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.valid.dim() != 2 or self.value.shape[:2] != self.valid.shape:
            raise ValueError(
                f"Track value {tuple(self.value.shape)} and valid {tuple(self.valid.shape)} differ in (B, T); "
                "give valid the first two dimensions of value"
            )
        if self.valid.dtype != torch.bool:
            raise ValueError(f"Track valid has dtype {self.valid.dtype}; use torch.bool, True where valid")
        if self.offset.shape != self.valid.shape[1:]:
            raise ValueError(
                f"Track offset {tuple(self.offset.shape)} must be (T,) = ({self.valid.shape[1]},), as value "
                f"{tuple(self.value.shape)} has (B, T) first; give one offset for each step"
            )
        if self.element_valid is None:
            return
        if self.element_valid.dtype != torch.bool or self.element_valid.shape != self.value.shape[:3]:
            raise ValueError(
                f"Track element_valid {tuple(self.element_valid.shape)} of {self.element_valid.dtype} must be bool of "
                f"(B, T, N) = {tuple(self.value.shape[:3])}, True where a point is there"
            )

    @classmethod
    def of_points(cls, value: Tensor, offsets: Sequence[int], valid: Tensor | None = None) -> Self:
        """Build a track from sets of points (B, T, N, F), of which absent points are rows with a NaN or an infinity.

        These become zeros, and `element_valid` tells them.
        """
        present = value.isfinite().all(dim=-1)
        track = cls.of(torch.where(present[..., None], value, 0.0), offsets, valid)
        return replace(track, element_valid=present)

    @classmethod
    def of(cls, value: Tensor, offsets: Sequence[int], valid: Tensor | None = None) -> Self:
        """Build a track from values (B, T, *F) that are all valid unless `valid` (B, T) says otherwise."""
        if valid is None:
            valid = torch.ones(value.shape[:2], dtype=torch.bool, device=value.device)
        return cls(value, valid, torch.tensor(list(offsets), dtype=torch.int64))

    @property
    def batch_size(self) -> int:
        """Number of rows B."""
        return self.value.shape[0]

    @property
    def length(self) -> int:
        """Number of steps T."""
        return self.value.shape[1]

    @property
    def holds_frames(self) -> bool:
        """Whether the values are pictures, whatever their stream is called: uint8 of three dimensions each."""
        return self.value.dtype == torch.uint8 and self.value.dim() == 5

    def with_value(self, value: Tensor) -> Self:
        """Return the same window with other values (B, T, *G), of points (B, T, N, G)."""
        return replace(self, value=value)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to the values; it must keep (B, T)."""
        return self.with_value(function(self.value))

    def select(self, chosen: Tensor) -> Track:
        """Return the steps where `chosen` (T,) bool is True."""
        if all(chosen.tolist()):
            return self
        return self._each(lambda tensor: tensor[:, chosen], self.offset[chosen])

    def at(self, offset: int) -> tuple[Tensor, Tensor]:
        """Return the value (B, *F) and validity (B,) at one offset.

        Raises:
            KeyError: if the track has no such offset.
        """
        offsets = self.offset.tolist()
        if offset not in offsets:
            raise KeyError(f"no offset {offset} in a track with offsets {offsets}; widen its Window")
        step = offsets.index(offset)
        return self.value[:, step], self.valid[:, step]

    def rows(self, index: Tensor | slice) -> Self:
        """Return the chosen rows of the batch."""
        return self._each(lambda tensor: tensor[index], self.offset)

    def frames(self, row: Tensor, step: Tensor) -> Self:
        """Return single steps (N,) of rows (N,) as N rows whose only offset is 0."""
        return self._each(lambda tensor: tensor[row, step][:, None], torch.zeros(1, dtype=torch.int64))

    def to(self, device: torch.device | str) -> Self:
        """Return the track on another device (offsets stay on the CPU: they are shape, not data)."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True), self.offset)

    def _each(self, function: Callable[[Tensor], Tensor], offset: Tensor) -> Self:
        """Return the track with `function` applied to every tensor (B, T, ...)."""
        points = self.element_valid
        return replace(
            self,
            value=function(self.value),
            valid=function(self.valid),
            offset=offset,
            element_valid=None if points is None else function(points),
        )


Tracks = Mapping[str, Track]


def join_tensors(tracks: Sequence[Track], dim: int, offset: Tensor) -> Track:
    """Return tracks of one stream as one, joined along their rows, `dim` 0, or in time, `dim` 1."""
    points = [track.element_valid for track in tracks if track.element_valid is not None]
    assert len(points) in (0, len(tracks)), "all tracks of a stream hold points, or none does"
    return Track(
        torch.cat([track.value for track in tracks], dim=dim),
        torch.cat([track.valid for track in tracks], dim=dim),
        offset,
        element_valid=torch.cat(points, dim=dim) if points else None,
    )


def concatenate(first: Track, second: Track) -> Track:
    """Join two tracks of one stream in time, `first` being the earlier one."""
    return join_tensors([first, second], 1, torch.cat([first.offset, second.offset]))
