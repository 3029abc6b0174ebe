"""What stands beside the streets of a town: houses, trees, street lamps, traffic lights, and places to park."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tempovla.env.driving.geometry import beside, corners, headings, resampled
from tempovla.env.driving.surface import PAVEMENT, Canvas, Surface
from tempovla.env.driving.town import Connection, Lane, Town

LAMP_OUT_M = 0.13
"""How far the lamps of a traffic light stand out of its head, towards those who look at it [m]."""
FLOOR_M = 3.2
_SEED = 0xC17
_COARSE = 8
"""Cells of the ground to a cell in which places are searched."""
_HOUSE_WIDTHS_M, _HOUSE_DEPTHS_M, _FLOORS = (9.0, 21.0), (8.0, 14.0), (2, 7)
_GARDEN_M = (1.4, 6.5)
_LAMP_EVERY_M, _TREE_EVERY_M, _CAR_EVERY_M = 27.0, 11.0, 6.4
_TREES = 150


@dataclass(frozen=True)
class House:
    """A house with a rectangular ground plan.

    Attributes:
        box: (5,) x, y, yaw, width along the street and depth [m].
        floors: number of floors, the ground floor included.
        style: number of its look.
        tint: (3,) factor of its colours.
    """

    box: np.ndarray
    floors: int
    style: int
    tint: np.ndarray


@dataclass(frozen=True)
class Tree:
    """A tree: where it stands, and its height [m]."""

    place: np.ndarray
    height: float
    green: np.ndarray


@dataclass(frozen=True)
class LightHead:
    """A traffic light's head.

    Attributes:
        place: (2,) of its pole.
        yaw: direction of the traffic that looks at it.
        light: name of the traffic light.
        links: indices of the links that it shows.
        reach_m: how far it hangs out to the left of its pole.
        height: of its middle [m].
    """

    place: np.ndarray
    yaw: float
    light: str
    links: tuple[int, ...]
    reach_m: float
    height: float


@dataclass(frozen=True)
class Scenery:
    """All that stands in a town."""

    houses: tuple[House, ...]
    trees: tuple[Tree, ...]
    lamps: tuple[tuple[np.ndarray, float], ...]
    """Street lamps: place, and heading of their arms."""
    heads: tuple[LightHead, ...]
    parking: np.ndarray
    """(N, 3) x, y, yaw of places to park."""


def place_scenery(town: Town, surface: Surface, styles: int) -> Scenery:
    """Return what stands in a town; it follows from the town alone.

    Args:
        town: the town.
        surface: its ground.
        styles: number of looks of houses.
    """
    generator = np.random.default_rng([_SEED, len(town.streets)])
    taken = Canvas(surface.side_m, len(surface.kinds) // _COARSE)
    step = len(surface.kinds) // len(taken.kinds)
    taken.kinds[:] = surface.kinds[step // 2 :: step, step // 2 :: step] > 0
    houses = _houses(town, taken, styles, generator)
    walks = town.sidewalks or tuple(street.lanes[0] for street in town.streets.values())
    lamps: list[tuple[np.ndarray, float]] = []
    trees: list[Tree] = []
    for lane in walks:
        out = -lane.width / 2 - 0.5
        line = resampled(beside(resampled(lane.shape, 2.0), out), 1.0)
        yaw = headings(line)
        offset = float(generator.uniform(5, 15))
        for at in np.arange(offset, len(line) - 6, _LAMP_EVERY_M).astype(int):
            lamps.append((line[at], float(yaw[at] + math.pi / 2)))
        for at in np.arange(offset + 6, len(line) - 6, _TREE_EVERY_M).astype(int):
            spot = beside(line, -float(generator.uniform(0.8, 3.5)))[at]
            if generator.random() < 0.55 and _is_free(taken, spot) and len(trees) < _TREES:
                green = np.array([0.2, 0.38, 0.14]) * generator.uniform(0.75, 1.25, 3)
                trees.append(Tree(spot, float(generator.uniform(4.5, 8.5)), green))
    return Scenery(houses, tuple(trees), tuple(lamps), _heads(town), _parking(town))


def _houses(town: Town, taken: Canvas, styles: int, generator: np.random.Generator) -> tuple[House, ...]:
    houses: list[House] = []
    walks = town.sidewalks or tuple(street.lanes[0] for street in town.streets.values())
    for lane in walks:
        at = 4.0
        line = resampled(lane.shape, 1.0)
        yaw = headings(line)
        while at < len(line) - 5:
            width, depth = float(generator.uniform(*_HOUSE_WIDTHS_M)), float(generator.uniform(*_HOUSE_DEPTHS_M))
            width = round(width / 3) * 3.0
            middle = min(int(at + width / 2), len(line) - 1)
            out = lane.width / 2 + float(generator.uniform(*_GARDEN_M)) + depth / 2 + 0.4
            right = np.array([math.sin(yaw[middle]), -math.cos(yaw[middle])])
            centre = line[middle] + out * right
            box = np.array([*centre, yaw[middle], width, depth])
            if _place(taken, box):
                tint = generator.uniform(0.8, 1.1) * generator.uniform(0.93, 1.07, 3)
                floors = int(generator.integers(*_FLOORS))
                houses.append(House(box, floors, int(generator.integers(styles)), tint))
                at += width + float(generator.choice([0.2, 0.2, 3.0, 6.0]))
            else:
                at += 5.0
    return tuple(houses)


def _place(taken: Canvas, box: np.ndarray) -> bool:
    """Take the ground of a box if it is free."""
    import cv2

    outline = corners(box[None])[0]
    if outline.min() < 2.0 or outline.max() > taken.side_m - 2.0:
        return False
    mask = np.zeros_like(taken.kinds)
    cv2.fillPoly(mask, [taken.pixels(outline)], 1, cv2.LINE_8, 4)
    if (taken.kinds[mask > 0] > 0).any():
        return False
    taken.kinds[mask > 0] = 2
    return True


def _is_free(taken: Canvas, place: np.ndarray, around_m: float = 1.5) -> bool:
    row, column = int((taken.side_m - place[1]) / taken.cell_m), int(place[0] / taken.cell_m)
    reach = max(1, round(around_m / taken.cell_m))
    around = taken.kinds[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
    return bool(around.size) and not (around == 2).any() and taken.kinds[row, column] != PAVEMENT


def _heads(town: Town) -> tuple[LightHead, ...]:
    """For each lane a head beside or above its stop line's far side, so that it is seen from the line."""
    heads = []
    for light, links in town.lights.items():
        by_street: dict[str, list[Connection]] = {}
        for link in links:
            by_street.setdefault(link.source.rsplit("_", 1)[0], []).append(link)
        for name, own in by_street.items():
            lanes = town.streets[name].lanes
            heads += _street_heads(light, lanes, own)
    return tuple(heads)


def _street_heads(light: str, lanes: list[Lane], links: list[Connection]) -> list[LightHead]:
    right = lanes[0]
    end, before = right.shape[-1], right.shape[-2]
    ahead = (end - before) / max(float(np.hypot(*(end - before))), 1e-9)
    left = np.array([-ahead[1], ahead[0]])
    yaw = math.atan2(ahead[1], ahead[0])
    straight = [link for link in links if link.direction == "s"] or links
    far = np.mean([link.shape[-1] for link in straight], axis=0)
    reach = max(float((far - end) @ ahead), 6.0) + 1.0
    near = end - left * (right.width / 2 + 1.0) + ahead * 0.3
    beyond = end + ahead * reach - left * (right.width / 2 + 1.2)
    found = [LightHead(near, yaw, light, _links(links, right.name), 0.0, 3.0)]
    for number, lane in enumerate(lanes):
        across = float((lane.shape[-1] - end) @ left) + right.width / 2 + 1.2
        own = _links(links, lane.name, left_first=number > 0 and number == len(lanes) - 1)
        if own:
            found.append(LightHead(beyond, yaw, light, own, across if number or len(lanes) > 1 else across * 0.7, 5.2))
    return found


def _links(links: list[Connection], lane: str, *, left_first: bool = False) -> tuple[int, ...]:
    """The links of a lane, first the one that its head shows."""
    own = [link for link in links if link.source == lane] or links
    order = {"s": 1, "l": 0 if left_first else 2, "r": 3}
    own = sorted(own, key=lambda link: order.get(link.direction, 4))
    return tuple(link.light[1] for link in own if link.light)


def _parking(town: Town) -> np.ndarray:
    places = []
    for lane in town.parking:
        line = resampled(lane.shape, 0.5)
        yaw = headings(line)
        for at in np.arange(12.0, 0.5 * len(line) - 12.0, _CAR_EVERY_M):
            index = int(at / 0.5)
            places.append((*line[index], yaw[index]))
    return np.array(places).reshape(-1, 3)
