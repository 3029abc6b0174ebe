"""Conversion of users' depth to the form that policies take: rows, columns, one channel, float32 metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WANTED = "give floats (height, width, 1) or (1, height, width) in metres, 0 where there is no reading"
"""The remedy for depth that cannot be read."""


def as_depth(key: str, depth: NDArray) -> NDArray[np.float32]:
    """Return depth (..., H, W, 1) float32 [m]; what is not finite becomes 0, no reading.

    Args:
        key: name of the stream, for messages.
        depth: one (H, W), (H, W, 1) or (1, H, W), or several (B, ...) of the latter two; floats in metres.

    Raises:
        ValueError: if the axes are ambiguous, it has no pixels, is no float or has a negative distance.
    """
    told = f"the depth {key!r} is {tuple(depth.shape)} {depth.dtype}"
    if depth.ndim < 2 or not depth.size:
        raise ValueError(f"{told}; {WANTED}")
    if depth.dtype.kind != "f":
        raise ValueError(f"{told}, whose unit is not known; {WANTED}")
    if depth.ndim == 2:
        depth = depth[..., None]
    elif depth.shape[-1] != 1:
        if depth.shape[-3] != 1:
            raise ValueError(f"{told}, without an axis of one channel; {WANTED}")
        depth = np.moveaxis(depth, -3, -1)
    metres = np.where(np.isfinite(depth), depth, 0.0).astype(np.float32)
    if metres.min() < 0:
        raise ValueError(f"the depth {key!r} holds {metres.min():g} m; {WANTED}")
    return metres
