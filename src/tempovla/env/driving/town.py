"""A town as its roads lie: lanes, junctions, connections, traffic lights, sidewalks and crossings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tempovla.env.driving.geometry import without_repeats
from tempovla.env.driving.town_files import MARGIN_M, network_file, sumo_home

_CARS = "passenger"
_LEAST_PARKING_M = 1.9


@dataclass(frozen=True)
class Lane:
    """One lane.

    Attributes:
        name: SUMO's.
        shape: (N, 2) its middle line [m].
        width: [m].
    """

    name: str
    shape: np.ndarray
    width: float


@dataclass(frozen=True)
class Connection:
    """A way from one lane, over a junction, into another.

    Attributes:
        source: the lane that it leaves.
        target: the lane that it enters.
        shape: (N, 2) its middle line on the junction [m].
        direction: `l`, `r` or `s`, or another of SUMO's letters, in lower case.
        light: name of the traffic light that rules it, and the index of its link; None where there is none.
        yields: whether other traffic goes first.
    """

    source: str
    target: str
    shape: np.ndarray
    direction: str
    light: tuple[str, int] | None
    yields: bool


@dataclass
class Street:
    """The lanes of one direction between two junctions: its lanes for cars from the right to the left."""

    name: str
    lanes: list[Lane]
    following: dict[str, list[Connection]] = field(default_factory=dict)
    opposite: bool = False

    @property
    def length(self) -> float:
        """Length of the first lane [m]."""
        return float(np.hypot(*np.diff(self.lanes[0].shape, axis=0).T).sum())


@dataclass(frozen=True)
class Town:
    """What is known of a town's roads, in its own frame.

    Attributes:
        name: as it was asked for.
        network: path of SUMO's file.
        streets: by SUMO's name.
        internal: lanes for cars on junctions.
        junctions: outlines of junctions, (N, 2) each [m].
        sidewalks: lanes for pedestrians beside streets.
        parking: strips beside streets, in their direction, on which nothing moves.
        walking_areas: outlines of the places where pedestrians walk at junctions, (N, 2) each.
        crossings: lanes for pedestrians over streets.
        lights: connections of each traffic light, by its name.
        size: extent along x and y, from the origin [m].
    """

    name: str
    network: Path
    streets: dict[str, Street]
    internal: tuple[Lane, ...]
    junctions: tuple[np.ndarray, ...]
    sidewalks: tuple[Lane, ...]
    parking: tuple[Lane, ...]
    walking_areas: tuple[np.ndarray, ...]
    crossings: tuple[Lane, ...]
    lights: dict[str, list[Connection]]
    size: tuple[float, float]


@lru_cache(maxsize=8)
def load_town(name: str) -> Town:
    """Return a town; it is made first if need be, see `network_file`."""
    os.environ.setdefault("SUMO_HOME", str(sumo_home()))
    import sumolib

    path = network_file(name)
    network = sumolib.net.readNet(str(path), withInternal=True, withPedestrianConnections=True)
    streets, sidewalks, internal, crossings, areas, parking = {}, [], [], [], [], []
    for edge in network.getEdges(withInternal=True):
        function = edge.getFunction()
        if function == "walkingarea":
            areas.append(_points(edge.getLanes()[0].getShape()))
        elif function == "crossing":
            crossings.append(_lane(edge.getLanes()[0]))
        elif function == "internal":
            internal += [_lane(lane) for lane in edge.getLanes() if lane.allows(_CARS)]
        else:
            lanes = [_lane(lane) for lane in edge.getLanes() if lane.allows(_CARS)]
            sidewalks += [
                _lane(lane) for lane in edge.getLanes() if lane.allows("pedestrian") and not lane.allows(_CARS)
            ]
            parking += [
                _lane(lane)
                for lane in edge.getLanes()
                if not lane.allows("pedestrian") and not lane.allows(_CARS) and lane.getWidth() > _LEAST_PARKING_M
            ]
            if lanes:
                streets[edge.getID()] = Street(edge.getID(), lanes, opposite=_has_opposite(edge))
    lights = _connect(network, streets)
    if not streets:
        raise ValueError(f"town={name!r} has no roads for cars; give another map")
    shapes = [node.getShape() for node in network.getNodes()]
    junctions = tuple(_points(shape) for shape in shapes if len(shape) > 2)
    highest = np.max([lane.shape.max(axis=0) for street in streets.values() for lane in street.lanes], axis=0)
    size = float(highest[0] + MARGIN_M), float(highest[1] + MARGIN_M)
    return Town(
        name,
        path,
        streets,
        tuple(internal),
        junctions,
        tuple(sidewalks),
        tuple(parking),
        tuple(areas),
        tuple(crossings),
        lights,
        size,
    )


def _points(shape: Any) -> np.ndarray:
    return np.array([point[:2] for point in shape], np.float64)


def _lane(lane: Any) -> Lane:
    return Lane(lane.getID(), without_repeats(_points(lane.getShape())), float(lane.getWidth()))


def _has_opposite(edge: Any) -> bool:
    return any(other.getToNode() == edge.getFromNode() for other in edge.getToNode().getOutgoing())


def _connect(network: Any, streets: dict[str, Street]) -> dict[str, list[Connection]]:
    """Fill the streets' connections; return those with traffic lights, by light."""
    known = {lane.name for street in streets.values() for lane in street.lanes}
    lights: dict[str, list[Connection]] = {}
    for edge in network.getEdges(withInternal=False):
        for following, links in edge.getOutgoing().items():
            for link in links:
                source, target = link.getFromLane().getID(), link.getToLane().getID()
                if source not in known or target not in known:
                    continue
                light = (link.getTLSID(), int(link.getTLLinkIndex())) if link.getTLSID() else None
                yields = link.getState() in "mw=sy"
                shape = _over_junction(network, link)
                found = Connection(source, target, shape, link.getDirection().lower(), light, yields)
                streets[edge.getID()].following.setdefault(following.getID(), []).append(found)
                if light:
                    lights.setdefault(light[0], []).append(found)
    return lights


def _over_junction(network: Any, link: Any) -> np.ndarray:
    parts, via = [link.getFromLane().getShape()[-1:]], link.getViaLaneID()
    while via:
        lane = network.getLane(via)
        parts.append(lane.getShape())
        onward = lane.getOutgoing()
        via = onward[0].getViaLaneID() if onward else ""
    parts.append(link.getToLane().getShape()[:1])
    return without_repeats(np.concatenate([_points(part) for part in parts]))
