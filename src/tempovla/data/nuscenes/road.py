"""The drivable surface around the car as a stream of points, from which a policy may learn but which none sees."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tempovla.data.nuscenes.around import DrivableArea
from tempovla.data.nuscenes.poses import Array, move_points
from tempovla.timeline.driving import ROAD_SQUARE_M, ROAD_SQUARES, ROAD_X_M, ROAD_Y_M
from tempovla.timeline.points import pad_points


def road_points(area: DrivableArea, pose: Array) -> NDArray[np.float32]:
    """Return the centres of the drivable squares around a car, (`ROAD_SQUARES`, 2), named by `ROAD_NAMES`.

    Args:
        area: of the car's map.
        pose: (4, 4) of the car, from its frame to that of the map.
    """
    centres = _lattice()
    there = area.contains(move_points(pose, centres)[:, :2])
    return pad_points(centres[there, :2], ROAD_SQUARES)


@cache
def _lattice() -> Array:
    """The centres (`ROAD_SQUARES`, 3) of all squares on the ground."""
    ahead, left = (np.arange(*reach, ROAD_SQUARE_M) + ROAD_SQUARE_M / 2 for reach in (ROAD_X_M, ROAD_Y_M))
    x, y = np.meshgrid(ahead, left, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
