"""Thin lines over pictures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PATH_COLOUR = (255, 0, 220)
"""Magenta, which neither robots nor the things on their tables have."""
FAINTEST = 0.25
"""Share of the line's colour at the end of a path."""


def draw_path(picture: NDArray[np.uint8], points: NDArray[np.float64], width_px: float = 2.5) -> None:
    """Draw a line through points over a picture, in place; its colour fades along the way.

    Args:
        picture: (H, W, 3) uint8 RGB.
        points: (P, 2) in pixels from the upper left corner to the right and down, which may lie outside. Where one is
            not finite, the line has a gap.
        width_px: of the line.
    """
    pieces = list(pairwise(points))
    ink = np.zeros(picture.shape[:2])
    for index, (start, end) in enumerate(pieces):
        if np.isfinite([start, end]).all():
            strength = 1.0 - (1.0 - FAINTEST) * index / max(len(pieces) - 1, 1)
            _add_piece(ink, start, end, width_px / 2, strength)
    picture[:] = np.rint(picture + ink[..., None] * (np.array(PATH_COLOUR) - picture)).astype(np.uint8)


def _add_piece(ink: NDArray, start: NDArray, end: NDArray, radius: float, strength: float) -> None:
    """Raise the share of the line's colour (H, W) to `strength` along a straight piece; its edges are smooth."""
    size = np.array(ink.shape[::-1])
    low = np.clip(np.floor(np.minimum(start, end) - radius - 1), 0, size).astype(int)
    high = np.clip(np.ceil(np.maximum(start, end) + radius + 1), 0, size).astype(int)
    if (low >= high).any():
        return
    columns, rows = np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5
    place = np.stack(np.meshgrid(columns, rows), axis=-1)
    way = end - start
    share = np.clip((place - start) @ way / max(way @ way, 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(place - start - share[..., None] * way, axis=-1)
    covered = strength * np.clip(radius + 0.5 - distance, 0.0, 1.0)
    box = ink[low[1] : high[1], low[0] : high[0]]
    np.maximum(box, covered, out=box)
