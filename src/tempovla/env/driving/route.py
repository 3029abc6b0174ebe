"""The ego's way through a town: its streets, the line to follow, its turns, and what the navigator says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tempovla.env.driving.geometry import distances_along, headings, resampled, without_repeats
from tempovla.env.driving.town import Connection, Street, Town
from tempovla.timeline.driving import Command

SPACING_M = 0.5
ANNOUNCED_M = 35.0
"""So far before a junction the navigator tells the turn."""
BEYOND_M = 40.0
"""The line goes on so far beyond the goal, so that drivers look where they go until its end."""
_CHANGE_M = 30.0
"""Length of a change of lanes."""
_LEAST_STREET_M = 20.0
_DIRECTIONS: dict[str, Command] = {"l": "left", "r": "right", "s": "straight", "t": "left"}
_ATTEMPTS = 400
_SMOOTHED = 13
"""Vertices over which the line is smoothed, weighted most in the middle."""


@dataclass(frozen=True)
class Turn:
    """One junction on the route.

    Attributes:
        start_m: where the route enters it, which is its stop line.
        end_m: where the route leaves it.
        command: what the navigator says; "follow" where there is only one way.
        connection: the way over it.
    """

    start_m: float
    end_m: float
    command: Command
    connection: Connection


class Route:
    """A line through a town, from its first vertex on.

    Attributes:
        streets: SUMO's names, in order.
        line: (N, 2) vertices [m], `SPACING_M` apart.
        along: (N,) how far each lies from the first [m].
        yaw: (N,) headings without jumps [rad].
        turns: the junctions, in order.
        length: where on the line the goal is [m]; the line goes on a little.
    """

    def __init__(self, streets: list[str], line: np.ndarray, turns: list[Turn], length: float | None = None) -> None:
        self.streets, self.turns = streets, turns
        self.line = line
        self.along = distances_along(line)
        self.yaw = headings(line)
        self.length = float(self.along[-1]) if length is None else length

    def at(self, along_m: float) -> tuple[float, float, float]:
        """Return x, y and heading of a place on the route."""
        return (
            float(np.interp(along_m, self.along, self.line[:, 0])),
            float(np.interp(along_m, self.along, self.line[:, 1])),
            float(np.interp(along_m, self.along, self.yaw)),
        )

    def project(
        self, x: float, y: float, near_m: float, back_m: float = 8.0, ahead_m: float = 25.0
    ) -> tuple[float, float]:
        """Return how far along the route the nearest point to a place lies, and how far left of it the place is.

        Args:
            x: of the place [m].
            y: of the place [m].
            near_m: where to search, as a route may meet itself.
            back_m: how far behind that.
            ahead_m: how far before that.
        """
        first = int(np.searchsorted(self.along, near_m - back_m))
        last = max(first + 2, int(np.searchsorted(self.along, near_m + ahead_m)))
        first = min(first, len(self.line) - 2)
        starts, ends = self.line[first:last][:-1], self.line[first:last][1:]
        if not len(starts):
            starts, ends, first = self.line[-2:-1], self.line[-1:], len(self.line) - 2
        place, steps = np.array([x, y]), ends - starts
        share = np.clip(((place - starts) * steps).sum(1) / np.maximum((steps**2).sum(1), 1e-9), 0, 1)
        offsets = place - (starts + share[:, None] * steps)
        best = int(np.argmin((offsets**2).sum(1)))
        step = steps[best] / max(float(np.hypot(*steps[best])), 1e-9)
        left = float(step[0] * offsets[best][1] - step[1] * offsets[best][0])
        return float(self.along[first + best] + share[best] * np.hypot(*steps[best])), left

    def next_turn(self, along_m: float) -> Turn | None:
        """Return the first junction that does not lie behind."""
        return next((turn for turn in self.turns if turn.end_m > along_m), None)

    def command(self, along_m: float) -> Command:
        """Return what the navigator says at a place on the route."""
        turn = self.next_turn(along_m)
        if turn is None or turn.start_m - along_m > ANNOUNCED_M:
            return "follow"
        return turn.command

    def moved(self, left_m: np.ndarray) -> Route:
        """Return the route with each vertex moved to its left by (N,) metres, as around what blocks the lane."""
        line = self.line + left_m[:, None] * np.stack([-np.sin(self.yaw), np.cos(self.yaw)], axis=1)
        changed = Route(self.streets, line, self.turns, self.length)
        changed.along = self.along
        return changed


def random_route(town: Town, generator: np.random.Generator, least_m: float, most_m: float) -> Route:
    """Return a route of a random length between two, without turning back, that begins well before a junction.

    Raises:
        ValueError: if the town has none so long.
    """
    starts = sorted(name for name, street in town.streets.items() if street.length > 2 * _LEAST_STREET_M)
    for _ in range(_ATTEMPTS):
        wanted = float(generator.uniform(least_m, most_m))
        streets = _wander(town, starts[int(generator.integers(len(starts)))], wanted, generator)
        if streets is None:
            continue
        route = route_over(town, streets)
        room = route.turns[0].start_m - ANNOUNCED_M - 5.0 if route.turns else route.length / 2
        begin = float(generator.uniform(0.25, 1.0)) * max(room, 3.0)
        if begin < 3.0 or route.length - begin - BEYOND_M < least_m:
            continue
        return trimmed(route, begin, min(wanted, route.length - begin - BEYOND_M))
    raise ValueError(f"town={town.name!r} has no route of {least_m:g} to {most_m:g} m; give a shorter route_m")


def _wander(town: Town, start: str, wanted_m: float, generator: np.random.Generator) -> list[str] | None:
    streets, length = [start], town.streets[start].length
    while length < wanted_m + 60.0 + BEYOND_M:
        onward = sorted(name for name in town.streets[streets[-1]].following if name not in streets)
        if not onward:
            return None
        # Turns are rarer than ways straight on, and harder: they are drawn as often as the others.
        name = onward[int(generator.integers(len(onward)))]
        streets.append(name)
        length += town.streets[name].length
    return streets


def route_over(town: Town, names: list[str]) -> Route:
    """Return the route over streets that follow each other, with as few changes of lanes as possible."""
    streets = [town.streets[name] for name in names]
    links = _connections(streets)
    parts: list[np.ndarray] = []
    spans: list[tuple[int, Connection, bool]] = []
    lane = links[0].source if links else streets[0].lanes[0].name
    for street, link in zip(streets, [*links, None], strict=True):
        parts.append(_along_street(street, lane, link.source if link else lane))
        if link is not None:
            spans.append((len(parts), link, len(street.following) > 1))
            parts.append(link.shape)
            lane = link.target
    ends = np.cumsum([len(part) for part in parts])
    raw = np.concatenate(parts)
    along = distances_along(raw)
    turns = [
        Turn(
            float(along[ends[part - 1] - 1]),
            float(along[min(ends[part], len(along) - 1)]),
            _DIRECTIONS.get(link.direction, "straight") if choice else "follow",
            link,
        )
        for part, link, choice in spans
    ]
    line = _smooth(resampled(without_repeats(raw), SPACING_M))
    return Route(names, line, turns)


def _smooth(line: np.ndarray) -> np.ndarray:
    """A line whose vertices are averaged with their neighbours, its ends kept: a car does not turn in jumps."""
    weights = np.hanning(_SMOOTHED + 2)[1:-1]
    beyond = _SMOOTHED // 2
    steps = np.arange(1, beyond + 1)[:, None]
    before = line[0] - steps[::-1] * (line[1] - line[0])
    after = line[-1] + steps * (line[-1] - line[-2])
    padded = np.concatenate([before, line, after])
    return np.stack([np.convolve(padded[:, axis], weights / weights.sum(), "valid") for axis in (0, 1)], axis=1)


def trimmed(route: Route, begin_m: float, length_m: float) -> Route:
    """Return a part of a route, whose line goes on beyond its end as far as the route does, but not far."""
    beyond = min(route.length - begin_m - length_m, BEYOND_M)
    at = np.arange(0.0, length_m + beyond + 1e-9, SPACING_M) + begin_m
    line = np.stack([np.interp(at, route.along, route.line[:, axis]) for axis in (0, 1)], axis=1)
    turns = [
        Turn(turn.start_m - begin_m, turn.end_m - begin_m, turn.command, turn.connection)
        for turn in route.turns
        if begin_m < turn.start_m < begin_m + length_m + beyond
    ]
    return Route(route.streets, line, turns, length_m)


def _connections(streets: list[Street]) -> list[Connection]:
    """One connection between each two streets, such that lanes are changed as little as possible."""
    best: list[dict[str, tuple[float, list[Connection]]]] = []
    for street, following in pairwise(streets):
        order = {lane.name: number for number, lane in enumerate(street.lanes)}
        reached: dict[str, tuple[float, list[Connection]]] = {}
        for link in street.following[following.name]:
            before: Any = best[-1].items() if best else [(link.source, (0.0, []))]
            cost, way = min(
                ((cost + abs(order[lane] - order[link.source]), way) for lane, (cost, way) in before),
                key=lambda option: option[0],
            )
            if link.target not in reached or cost < reached[link.target][0]:
                reached[link.target] = cost, [*way, link]
        best.append(reached)
    return min(best[-1].values(), key=lambda option: option[0])[1] if best else []


def _along_street(street: Street, first: str, last: str) -> np.ndarray:
    """The line along a street that begins in one lane and ends in another."""
    lanes = {lane.name: lane.shape for lane in street.lanes}
    if first == last:
        return lanes[first]
    a, b = resampled(lanes[first], 1.0), resampled(lanes[last], 1.0)
    count = min(len(a), len(b))
    share = np.clip((np.arange(count) - 8.0) / min(_CHANGE_M, max(count - 16.0, 1.0)), 0, 1)[:, None]
    smooth = share * share * (3 - 2 * share)
    return np.concatenate([a[:count] * (1 - smooth) + b[:count] * smooth, b[count:]])
