"""The ground of a town and what stands on it, made once a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tempovla.env.driving.scenery import Scenery, place_scenery
from tempovla.env.driving.surface import Surface, draw_surface
from tempovla.env.driving.textures import FACADES
from tempovla.env.driving.town import load_town

_CELL_M = 0.12
_MOST_CELLS, _STEP = 4096, 64
"""Number of cells along a side: a multiple of the step."""
_COARSE = 4


@dataclass(frozen=True)
class Ground:
    """The ground of a town.

    Attributes:
        surface: what lies where.
        scenery: what stands on it.
        off_road: (S, S) float32, how far each place lies from where cars may be [m], 0 on it; row 0 at the largest y.
    """

    surface: Surface
    scenery: Scenery
    off_road: np.ndarray

    def off_road_m(self, points: np.ndarray) -> np.ndarray:
        """Return how far places (N, 2) lie from where cars may be, (N,) [m], 0 on it."""
        rows = self.surface.cells(points) // _COARSE
        return self.off_road[rows[:, 0], rows[:, 1]]


@lru_cache(maxsize=4)
def ground_of(town: str) -> Ground:
    """Return a town's ground."""
    import cv2

    streets = load_town(town)
    steps = round(max(streets.size) / _CELL_M / _STEP)
    cells = min(_MOST_CELLS, max(steps, 1) * _STEP)
    surface = draw_surface(streets, cells)
    # A cell counts as drivable if any part of it is: the edge of the road is no reason to stop.
    parts = surface.drivable.reshape(cells // _COARSE, _COARSE, cells // _COARSE, _COARSE)
    forbidden = np.asarray(~parts.any(axis=(1, 3)), np.uint8)
    distance = cv2.distanceTransform(forbidden, cv2.DIST_L2, 5) * surface.cell_m * _COARSE
    return Ground(surface, place_scenery(streets, surface, FACADES), distance.astype(np.float32))
