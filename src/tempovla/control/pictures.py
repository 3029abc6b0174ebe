"""Conversion of users' pictures to the form that policies take: rows, columns, RGB, uint8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WANTED = "give (height, width, RGB) uint8, or (RGB, height, width) floats from 0 to 1"
"""The remedy for a picture that cannot be read."""
COLOURS = 3


def as_frames(key: str, pictures: NDArray) -> NDArray[np.uint8]:
    """Return pictures (..., H, W, 3) uint8.

    The axis of three entries tells where the colours are. Floats are shares of full brightness and are rounded to
    levels, so that levels divided by 255 come back as they were.

    Args:
        key: name of the stream, for messages.
        pictures: one (H, W, 3) or (3, H, W), or several (B, ...) of them; uint8 levels, or floats from 0 to 1.

    Raises:
        ValueError: if the axes or the scale are ambiguous, it has no pixels, or a value is not finite.
    """
    if not pictures.size:
        raise ValueError(f"the picture {key!r} is {_kind(pictures)} and has no pixels; {WANTED}")
    has_colours_last = pictures.shape[-1] == COLOURS
    has_colours_first = pictures.shape[-3] == COLOURS
    if has_colours_last == has_colours_first:
        told = "has three entries in two of its axes" if has_colours_last else "has no axis of three colours"
        raise ValueError(f"the picture {key!r}, {_kind(pictures)}, {told}; {WANTED}")
    if pictures.dtype == np.uint8:
        levels = pictures
    elif pictures.dtype.kind == "f":
        levels = _levels(key, pictures)
    else:
        raise ValueError(f"the picture {key!r} is {_kind(pictures)}; {WANTED}")
    return levels if has_colours_last else np.moveaxis(levels, -3, -1)


def _levels(key: str, shares: NDArray) -> NDArray[np.uint8]:
    """Levels 0 to 255 of shares 0 to 1.

    Raises:
        ValueError: if there is another number.
    """
    low, high = shares.min(), shares.max()  # NaN wherever there is one
    if not np.isfinite([low, high]).all():
        found = shares[~np.isfinite(shares)][0]
        raise ValueError(f"the picture {key!r} holds {found}; {WANTED}")
    if low < 0 or high > 1:
        raise ValueError(f"the picture {key!r} has floats from {low:g} to {high:g}; {WANTED}")
    return np.rint(shares * np.float32(255)).astype(np.uint8)


def _kind(pictures: NDArray) -> str:
    return f"{tuple(pictures.shape)} {pictures.dtype}"
