"""A moment of a driving simulator as a picture from above shows it.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Snapshot:
    """What is around a car at one moment, in the frame of the map: x and y [m], headings [rad].

    Attributes:
        pose: (3,) x, y and heading of the ego frame, whose origin lies below the rear axle.
        ego: (5,) rectangle of the car: x and y of its middle, heading, length and width.
        boxes: (M, 5) rectangles of the others.
        route: (L, 2) what is left of the route.
        lanes: edges or middles of lanes near the car, polylines (L, 2).
        surfaces: polygons (L, 2) near the car that one can drive on.
        lights: places of traffic lights near the car, and their colours `red`, `yellow` or `green`.
    """

    pose: NDArray[np.float64]
    ego: NDArray[np.float64]
    boxes: NDArray[np.float64]
    route: NDArray[np.float64]
    lanes: tuple[NDArray[np.float64], ...] = ()
    surfaces: tuple[NDArray[np.float64], ...] = field(default=())
    lights: tuple[tuple[float, float, str], ...] = ()
