"""A moment of a driving simulator as a picture from above shows it.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEAR_M = 60.0
"""What is further from the car than this is left out."""
_COLOURS = {"r": "red", "u": "red", "y": "yellow", "g": "green"}
"""Of the states of a traffic light, whose capital letters mean the same."""


@dataclass(frozen=True)
class Snapshot:
    """What is around a car at one moment, in the frame of the map: x and y [m], headings [rad].

    Attributes:
        pose: (3,) x, y and heading of the ego frame, whose origin lies below the rear axle.
        ego: (5,) rectangle of the car: x and y of its middle, heading, length and width.
        boxes: (M, 5) rectangles of the others.
        route: (L, 2) the route, as far as it is near.
        lanes: middles of the lanes that are near, polylines (L, 2).
        lights: places of the traffic lights that are near, and their colours `red`, `yellow` or `green`.
    """

    pose: NDArray[np.float64]
    ego: NDArray[np.float64]
    boxes: NDArray[np.float64]
    route: NDArray[np.float64]
    lanes: tuple[NDArray[np.float64], ...] = ()
    lights: tuple[tuple[float, float, str], ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Snapshot:
        """Return what is near of a moment as an environment tells it; see `Surveyed.snapshot`."""
        pose = np.asarray(told["ego"], np.float64)
        boxes, route = (np.asarray(told[name], np.float64) for name in ("boxes", "route"))
        lights = [(float(x), float(y), _COLOURS.get(state.lower(), "")) for x, y, state in told["lights"]]
        return cls(
            pose,
            np.asarray(told["ego_box"], np.float64),
            boxes[_near(boxes, pose)],
            route[_near(route, pose)],
            tuple(lane for lane in map(np.asarray, told["lanes"]) if _near(lane, pose).any()),
            tuple(light for light in lights if light[2] and _near(np.array([light[:2]]), pose)[0]),
        )


def _near(places: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of some places (N, 2 or more) are near to the car (N,)."""
    return np.hypot(places[:, 0] - pose[0], places[:, 1] - pose[1]) < NEAR_M
