"""The traffic light that counts for the ego, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from tempovla.env.driving.route import Route
from tempovla.env.driving.scenery import LAMP_OUT_M, LightHead
from tempovla.timeline.driving import LightState

_SHOWN: dict[str, LightState] = {"r": "red", "u": "red", "y": "yellow", "g": "green"}
"""What SUMO's letters of link states mean, capitals alike; `u` is red and yellow at once."""


class NextLight(TypedDict):
    """A traffic light ahead.

    Attributes:
        state: what it shows.
        distance_m: from the front of the car to its stop line [m].
        heads: x, y and z of the middle of each head that shows it, in the town's frame [m].
    """

    state: LightState
    distance_m: float
    heads: list[list[float]]


def next_light(route: Route, front_m: float, lights: Mapping[str, str], heads: Sequence[LightHead]) -> NextLight | None:
    """Return the next traffic light on a route; None where none follows.

    Args:
        route: the ego's.
        front_m: where on the route the front of the car is [m].
        lights: link states of the traffic lights.
        heads: of all traffic lights.
    """
    for turn in route.turns:
        if turn.start_m <= front_m or turn.connection.light is None:
            continue
        name, link = turn.connection.light
        shown = lights.get(name, "")[link : link + 1].lower()
        places = [_middle(head) for head in heads if head.light == name and link in head.links]
        return {
            "state": _SHOWN.get(shown, "none"),
            "distance_m": round(turn.start_m - front_m, 2),
            "heads": places,
        }
    return None


def _middle(head: LightHead) -> list[float]:
    """Where the lamp in the middle of a head is."""
    cosine, sine = math.cos(head.yaw), math.sin(head.yaw)
    x = head.place[0] - LAMP_OUT_M * cosine - head.reach_m * sine
    y = head.place[1] - LAMP_OUT_M * sine + head.reach_m * cosine
    return [round(float(x), 2), round(float(y), 2), head.height]
