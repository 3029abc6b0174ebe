"""The traffic light that counts for the ego, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from tempovla.env.driving.route import Route
from tempovla.timeline.driving import LightState

_SHOWN: dict[str, LightState] = {"r": "red", "u": "red", "y": "yellow", "g": "green"}
"""What SUMO's letters of link states mean, capitals alike; `u` is red and yellow at once."""


class NextLight(TypedDict):
    """A traffic light ahead.

    Attributes:
        state: what it shows.
        distance_m: from the front of the car to its stop line [m].
    """

    state: LightState
    distance_m: float


def next_light(route: Route, front_m: float, lights: Mapping[str, str]) -> NextLight | None:
    """Return the next traffic light on a route; None where none follows.

    Args:
        route: the ego's.
        front_m: where on the route the front of the car is [m].
        lights: link states of the traffic lights.
    """
    for turn in route.turns:
        if turn.start_m <= front_m or turn.connection.light is None:
            continue
        name, link = turn.connection.light
        shown = lights.get(name, "")[link : link + 1].lower()
        return {"state": _SHOWN.get(shown, "none"), "distance_m": round(turn.start_m - front_m, 2)}
    return None
