"""A track: one stream's values over a window of time, each with its validity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """

    value: Tensor
    valid: Tensor
    offset: Tensor

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
        """Return the same window with other values (B, T, *G)."""
        return replace(self, value=value)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to the values; it must keep (B, T)."""
        return self.with_value(function(self.value))

    def select(self, chosen: Tensor) -> Track:
        """Return the steps where `chosen` (T,) bool is True."""
        if all(chosen.tolist()):
            return self
        return Track(self.value[:, chosen], self.valid[:, chosen], self.offset[chosen])

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
        return replace(self, value=self.value[index], valid=self.valid[index])

    def to(self, device: torch.device | str) -> Self:
        """Return the track on another device (offsets stay on the CPU: they are shape, not data)."""
        value, valid = (tensor.to(device, non_blocking=True) for tensor in (self.value, self.valid))
        return replace(self, value=value, valid=valid)


Tracks = Mapping[str, Track]


def concatenate(first: Track, second: Track) -> Track:
    """Join two tracks of one stream in time, `first` being the earlier one."""
    return Track(
        torch.cat([first.value, second.value], dim=1),
        torch.cat([first.valid, second.valid], dim=1),
        torch.cat([first.offset, second.offset]),
    )
