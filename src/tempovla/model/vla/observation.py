"""Common reading of streams, with zeros in place of missing observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tempovla.timeline import Context, Track
from tempovla.timeline.keys import ACTION_KEY, dims_key


def observed_vector(tracks: Mapping[str, Track], key: str, offset: int = 0) -> Tensor:
    """Return values (B, D) of one stream at one offset, zeros in rows where it is not valid and in dimensions of
    padding.
    """
    value, valid = tracks[key].at(offset)
    own = own_dims(tracks, key)
    return torch.where(valid[:, None] if own is None else valid[:, None] & own, value, 0.0)


def own_dims(tracks: Mapping[str, Track], key: str) -> Tensor | None:
    """Return (B, D) bool: which dimensions of a padded stream are the body's own; None where it is not padded."""
    if dims_key(key) not in tracks:
        return None
    own, valid = tracks[dims_key(key)].at(0)
    return own & valid[:, None]


def supervised(context: Context, action: Track, required: Sequence[str]) -> Tensor:
    """Return a mask of the actions to learn: (B, H), or (B, H, A) where they are padded to A.

    Args:
        context: the observations.
        action: (B, H, A).
        required: streams without which a row is not learned from.
    """
    valid = action.valid & all_observed(context.now, required)[:, None] if required else action.valid
    own = own_dims(context.now, ACTION_KEY)
    return valid if own is None else valid[..., None] & own[:, None]


def observed_pictures(tracks: Mapping[str, Track], cameras: Sequence[str], offset: int = 0) -> list[Tensor]:
    """Return one picture (B, 3, S, S) uint8 a camera at one offset, black in rows where it is not valid."""
    pictures = []
    for camera in cameras:
        picture, valid = tracks[camera].at(offset)
        missing = torch.zeros((), dtype=picture.dtype, device=picture.device)
        pictures.append(picture if bool(valid.all()) else torch.where(valid[:, None, None, None], picture, missing))
    return pictures


def all_observed(tracks: Mapping[str, Track], keys: Sequence[str], offset: int = 0) -> Tensor:
    """Return (B,) True where all of these streams are valid at one offset."""
    return torch.stack([tracks[key].at(offset)[1] for key in keys]).all(dim=0)
