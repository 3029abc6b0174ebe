"""What policies share: reading streams, with nothing in place of what was not observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tempovla.timeline import Track


def observed_vector(tracks: Mapping[str, Track], key: str, offset: int = 0) -> Tensor:
    """Values (B, D) of one stream at one offset, zeros in rows where it is not valid."""
    value, valid = tracks[key].at(offset)
    return torch.where(valid[:, None], value, 0.0)


def observed_pictures(tracks: Mapping[str, Track], cameras: Sequence[str], offset: int = 0) -> list[Tensor]:
    """One picture (B, 3, S, S) uint8 a camera at one offset, black in rows where it is not valid."""
    pictures = []
    for camera in cameras:
        picture, valid = tracks[camera].at(offset)
        missing = torch.zeros((), dtype=picture.dtype, device=picture.device)
        pictures.append(picture if bool(valid.all()) else torch.where(valid[:, None, None, None], picture, missing))
    return pictures


def all_observed(tracks: Mapping[str, Track], keys: Sequence[str], offset: int = 0) -> Tensor:
    """(B,) True where all of these streams are valid at one offset."""
    return torch.stack([tracks[key].at(offset)[1] for key in keys]).all(dim=0)
