"""What is around the car: annotated objects and the ground that one can drive on, to judge trajectories by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import PngImagePlugin

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.layout import MAP_RESOLUTION_M
from tempovla.data.nuscenes.poses import Array, inverse, move_points, rotation_matrices, yaws
from tempovla.data.nuscenes.scenes import US, SceneTable
from tempovla.storage.paths import regular_file

LONGEST_MOTION_S = 1.5
"""Annotations further apart tell no velocity, as in nuScenes' own tools; twice as much for the two beside one [s]."""
MOST_MAP_PIXELS = 1 << 31
LEAST_ON_ROAD = 0.5
"""Share of a scene's control steps at which its car is where one can drive; with less, the map may be another one's."""
EDGE_M = 1.0
"""How far beside a map a car may be [m]."""
_REMEDY = "copy the map again"
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Boxes:
    """M objects in the ego frame of a control step.

    Attributes:
        center: (M, 3) [m].
        size: (M, 3) width, length and height [m].
        yaw: (M,) heading [rad].
        velocity: (M, 2) over ground [m/s]; NaN where the object is annotated once.
        category: (M,) names such as `vehicle.car`.
        instance: (M,) tokens of the objects, which stay the same within a scene.
        num_lidar_points: (M,) points of the key frame's LiDAR on it.
        num_radar_points: (M,) targets of the key frame's radars on it.
        visibility: (M,) tokens, such as `4` for 80 to 100%; "" where it is not known.
    """

    center: Array
    size: Array
    yaw: Array
    velocity: Array
    category: tuple[str, ...]
    instance: tuple[str, ...]
    num_lidar_points: NDArray[np.int64]
    num_radar_points: NDArray[np.int64]
    visibility: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.yaw)


@dataclass(frozen=True)
class DrivableArea:
    """Where one can drive, in the global frame of a map.

    Maps of cities have up to a billion pixels, and all those of a dataset are kept: eight pixels share a byte.

    Attributes:
        bits: (R, ceil(C / 8)) uint8, as `numpy.packbits` makes them of the mask's rows; the first row is the one with
            the largest y. As nuScenes' tools have it, the pixel in row r and column c lies around x = c and y = R - r,
            in pixels.
        columns: number C of columns of the mask.
        resolution_m: size of a pixel [m].
    """

    bits: NDArray[np.uint8]
    columns: int
    resolution_m: float = MAP_RESOLUTION_M

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> DrivableArea:
        """Return the area of a mask (R, C)."""
        return cls(np.packbits(mask, axis=1), mask.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the mask."""
        return len(self.bits), self.columns

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return whether one can drive at points (..., 2) x, y in the global frame [m]; False off the map."""
        places = np.asarray(points, dtype=np.float64) / self.resolution_m
        columns = np.round(places[..., 0]).astype(np.int64)
        rows = np.round(self.shape[0] - places[..., 1]).astype(np.int64)
        inside = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.columns)
        rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
        drivable = (self.bits[rows, columns // 8] >> (7 - columns % 8)) & 1
        return inside & drivable.astype(bool)


class Annotations:
    """The annotated objects of key frames.

    Args:
        table: the scenes.
    """

    def __init__(self, table: SceneTable) -> None:
        self._table = table
        marks, samples = table.tables["sample_annotation"], table.tables["sample"]
        self._times_us = samples["timestamp"][marks["sample_token"]]
        order = np.lexsort((self._times_us, marks["instance_token"]))
        same = np.diff(marks["instance_token"][order]) == 0
        self._before = np.full(len(marks), -1)
        self._after = np.full(len(marks), -1)
        self._before[order[1:][same]], self._after[order[:-1][same]] = order[:-1][same], order[1:][same]

    def boxes(self, sample: int, step: Array) -> Boxes:
        """Return the objects of a key frame.

        Args:
            sample: record of `sample`.
            step: (4, 4) pose of the car, in whose frame they are returned.
        """
        tables = self._table.tables
        rows, marks = self._table.annotations(sample), tables["sample_annotation"]
        to_ego = inverse(step)
        instances = marks["instance_token"][rows]
        categories = tables["category"]["name"][tables["instance"]["category_token"][instances]]
        visibility = tables["visibility"]
        return Boxes(
            center=move_points(to_ego, marks["translation"][rows]),
            size=marks["size"][rows],
            yaw=yaws(to_ego[:3, :3] @ rotation_matrices(marks["rotation"][rows])),
            velocity=(self._velocities(rows) @ to_ego[:3, :3].T)[:, :2],
            category=tuple(map(str, categories)),
            instance=tuple(tables["instance"].token(int(row)) for row in instances),
            num_lidar_points=marks["num_lidar_pts"][rows],
            num_radar_points=marks["num_radar_pts"][rows],
            visibility=tuple(visibility.token(int(row)) if row >= 0 else "" for row in marks["visibility_token"][rows]),
        )

    def _velocities(self, rows: NDArray[np.int64]) -> Array:
        """Velocities (M, 3) in the global frame, between the annotations before and after each, where there are."""
        before, after = self._before[rows], self._after[rows]
        first, last = np.where(before >= 0, before, rows), np.where(after >= 0, after, rows)
        spans_s = (self._times_us[last] - self._times_us[first]) * US
        longest_s = np.where((before >= 0) & (after >= 0), 2 * LONGEST_MOTION_S, LONGEST_MOTION_S)
        known = (first != last) & (spans_s <= longest_s)
        places = self._table.tables["sample_annotation"]["translation"]
        moved = places[last] - places[first]
        return np.where(known[:, None], moved / np.where(known, spans_s, 1.0)[:, None], np.nan)


def read_drivable(path: Path) -> DrivableArea:
    """Return the drivable area of a map's mask.

    Raises:
        DatasetError: if there is no such file, or it is no PNG.
    """
    regular_file(path, remedy=_REMEDY, error=DatasetError)
    try:
        with PngImagePlugin.PngImageFile(path) as image:  # maps are larger than what Image.open takes for an attack
            if image.width * image.height > MOST_MAP_PIXELS:
                raise DatasetError(f"{path}: has {image.width} x {image.height} pixels, which no map has; {_REMEDY}")
            return DrivableArea.of(np.asarray(image.convert("L")) >= 128)
    except (OSError, SyntaxError) as problem:
        raise DatasetError(f"{path}: cannot be decoded as PNG ({problem}); {_REMEDY}") from None


def check_fits(area: DrivableArea, path: Path, places: NDArray[np.float64]) -> None:
    """Refuse the map of another place or size: no file states a map's size, but its car tells where it was.

    Args:
        area: of the map.
        path: of its file.
        places: (L, 2) x and y of the car in the global frame [m].

    Raises:
        DatasetError: if the car leaves the map.
    """
    rows, columns = area.shape
    extent = np.array([columns, rows]) * area.resolution_m
    off = np.flatnonzero(((places < -EDGE_M) | (places > extent + EDGE_M)).any(axis=1))
    size = f"{path}: has {columns} x {rows} pixels of {area.resolution_m:g} m"
    if len(off):
        x, y = places[off[0]]
        raise DatasetError(
            f"{size}, but the car drives beside it, at x={x:.1f} m, y={y:.1f} m; copy the map of that location again, "
            "in its full size"
        )
    on_road = float(area.contains(places).mean())
    if on_road < LEAST_ON_ROAD:
        LOGGER.warning(
            "%s, and only %.0f%% of a scene lies where one can drive: is it the right map?", size, 100 * on_road
        )
