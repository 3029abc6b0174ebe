"""The ground of a town as a grid: what lies where, seen from above. The picture of the ground and maps come from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempovla.env.driving.geometry import beside, distances_along, resampled
from tempovla.env.driving.town import Lane, Street, Town

GRASS, PAVEMENT, ASPHALT, WHITE, YELLOW, STRIPE, PARKING, KERB = range(8)
"""Kinds of ground."""
_ON_ROADS = (ASPHALT, WHITE, YELLOW, STRIPE, PARKING)
_SUBPIXEL_BITS = 4
_EDGE_M, _LINE_M, _STOP_M, _STRIPE_M = 0.3, 0.14, 0.4, 0.5
_DASH_M, _DASH_GAP_M = 3.0, 5.0
_PLANTED_M = 1.2


@dataclass(frozen=True)
class Surface:
    """The ground.

    Attributes:
        kinds: (S, S) uint8 kind of ground; row 0 lies at the largest y.
        side_m: length of its sides [m]; it begins at the town's origin.
    """

    kinds: np.ndarray
    side_m: float

    @property
    def cell_m(self) -> float:
        """Side of a cell [m]."""
        return self.side_m / len(self.kinds)

    def cells(self, points: np.ndarray) -> np.ndarray:
        """Return row and column of places (N, 2), (N, 2) int; those outside get the nearest cell."""
        column = np.floor(points[:, 0] / self.cell_m)
        row = np.floor((self.side_m - points[:, 1]) / self.cell_m)
        return np.clip(np.stack([row, column], axis=1), 0, len(self.kinds) - 1).astype(int)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the kind of ground at places (N, 2), (N,) uint8."""
        rows = self.cells(points)
        return self.kinds[rows[:, 0], rows[:, 1]]

    @property
    def drivable(self) -> np.ndarray:
        """Where cars may be, (S, S) bool."""
        return np.isin(self.kinds, _ON_ROADS)


class Canvas:
    """Draws kinds of ground into a grid."""

    def __init__(self, side_m: float, cells: int) -> None:
        self.kinds = np.zeros((cells, cells), np.uint8)
        self.side_m, self.cell_m = side_m, side_m / cells

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return places (N, 2) as OpenCV's pixels with fractional bits, (N, 2) int32."""
        scaled = np.stack([points[:, 0], self.side_m - points[:, 1]], axis=1) / self.cell_m - 0.5
        return np.round(scaled * 2**_SUBPIXEL_BITS).astype(np.int32)

    def fill(self, outline: np.ndarray, kind: int) -> None:
        """Fill a polygon."""
        import cv2

        cv2.fillPoly(self.kinds, [self.pixels(outline)], kind, cv2.LINE_8, _SUBPIXEL_BITS)

    def line(self, points: np.ndarray, width_m: float, kind: int) -> None:
        """Fill what lies beside a line up to half its width, with square ends."""
        if len(points) < 2:
            return
        left, right = beside(points, width_m / 2), beside(points, -width_m / 2)
        for index in range(len(points) - 1):
            self.fill(np.stack([left[index], left[index + 1], right[index + 1], right[index]]), kind)


def draw_surface(town: Town, cells: int) -> Surface:
    """Return the ground of a town as a grid of `cells` x `cells`."""
    canvas = Canvas(max(town.size), cells)
    for lane in town.sidewalks:
        canvas.line(lane.shape, lane.width + 2 * _EDGE_M, PAVEMENT)
    for outline in (*town.walking_areas, *town.junctions):
        canvas.fill(outline, PAVEMENT)
    streets = list(town.streets.values())
    if not town.sidewalks:
        for lane in (lane for street in streets for lane in street.lanes):
            canvas.line(lane.shape, lane.width + 6.0, PAVEMENT)
    for lane in town.parking:
        canvas.line(lane.shape, lane.width + _EDGE_M, PARKING)
    for lane in (lane for street in streets for lane in street.lanes):
        canvas.line(lane.shape, lane.width + _EDGE_M, ASPHALT)
    for outline in town.junctions:
        canvas.fill(outline, ASPHALT)
    for outline in town.walking_areas:
        canvas.fill(outline, PAVEMENT)
    for lane in (*town.internal, *town.crossings):
        canvas.line(lane.shape, lane.width + 2 * _EDGE_M, ASPHALT)
    _draw_kerbs(canvas)
    for street in streets:
        _draw_markings(canvas, street)
    for lane in town.crossings:
        _draw_crossing(canvas, lane)
    _draw_stop_lines(canvas, town)
    return Surface(canvas.kinds, canvas.side_m)


def _draw_kerbs(canvas: Canvas) -> None:
    import cv2

    road = np.isin(canvas.kinds, _ON_ROADS).astype(np.uint8)
    reach = max(1, round(0.2 / canvas.cell_m))
    grown = cv2.dilate(road, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    canvas.kinds[(grown > 0) & (canvas.kinds == PAVEMENT)] = KERB


def _draw_markings(canvas: Canvas, street: Street) -> None:
    for number, lane in enumerate(street.lanes):
        line = resampled(lane.shape, 1.0)
        if number == 0:
            canvas.line(beside(line, -lane.width / 2 + 0.12), _LINE_M, WHITE)
        if number < len(street.lanes) - 1:
            for dash in _dashes(beside(line, lane.width / 2)):
                canvas.line(dash, _LINE_M, WHITE)
        elif street.opposite:
            canvas.line(beside(line, lane.width / 2 - 0.1), _LINE_M, YELLOW)
        else:
            canvas.line(beside(line, lane.width / 2 - 0.12), _LINE_M, WHITE)


def _dashes(line: np.ndarray) -> list[np.ndarray]:
    along = distances_along(line)
    starts = np.arange(0.0, max(along[-1] - _DASH_M, 0.0), _DASH_M + _DASH_GAP_M)
    at = [np.linspace(start, start + _DASH_M, 4) for start in starts]
    return [np.stack([np.interp(part, along, line[:, axis]) for axis in (0, 1)], axis=1) for part in at]


def _draw_crossing(canvas: Canvas, lane: Lane) -> None:
    """Stripes along the street, across the way of the pedestrians."""
    line = resampled(lane.shape, 0.1)
    along = distances_along(line)
    for start in np.arange(0.3, along[-1] - _STRIPE_M, 2 * _STRIPE_M):
        part = (along >= start) & (along <= start + _STRIPE_M)
        if part.sum() > 1:
            canvas.line(line[part], lane.width * 0.85, STRIPE)


def _draw_stop_lines(canvas: Canvas, town: Town) -> None:
    ruled = {link.source for links in town.lights.values() for link in links}
    for street in town.streets.values():
        for lane in street.lanes:
            if lane.name not in ruled:
                continue
            end, before = lane.shape[-1], lane.shape[-2]
            ahead = (end - before) / max(float(np.hypot(*(end - before))), 1e-9)
            left = np.array([-ahead[1], ahead[0]]) * lane.width * 0.46
            middle = end - ahead * 0.7
            canvas.line(np.stack([middle - left, middle + left]), _STOP_M, WHITE)
