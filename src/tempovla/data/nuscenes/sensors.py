"""Readings of sensors at control steps: which one it is, and what it holds in the ego frame of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.files import (
    POINT_BYTES,
    REMEDY,
    depth_name,
    read_depth,
    read_lidar,
    read_picture,
    read_radar,
)
from tempovla.data.nuscenes.options import Missing
from tempovla.data.nuscenes.poses import Array, inverse, move_points
from tempovla.data.nuscenes.scenes import Channel, Scene, SceneTable
from tempovla.storage.paths import Inside
from tempovla.timeline.clock import latest_at

TOLERATED_PERIODS = 1.5
"""How old a reading may be at a control step, in periods of its sensor: its clock may jitter or be shifted against that
of control, but the gap that a lost reading leaves is not filled."""

_RADAR_FEATURES = 5

_OR_MASK = ", or count such readings as not valid with data.nuscenes.missing=mask"


class SensorReader:
    """Reads the sensors' files of a dataset.

    Args:
        table: the scenes.
        missing: what becomes of a reading whose file is not there.
        default_rate_hz: rate of a sensor with a single reading in a scene [Hz].
    """

    def __init__(self, table: SceneTable, missing: Missing, default_rate_hz: float) -> None:
        self._table, self._missing, self._default_rate_hz = table, missing, default_rate_hz
        self._inside = Inside(table.tables.root, DatasetError)

    def newest(
        self, scene: Scene, channel: Channel, steps_us: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return which reading (T,) of a channel counts at times (T,) [us], and whether it is fresh (T,): it is the
        newest one that is not later, and at most `TOLERATED_PERIODS` old.
        """
        tolerance_s = TOLERATED_PERIODS / (channel.rate_hz or self._default_rate_hz)
        places, fresh = latest_at(scene.seconds(channel.times_us), scene.seconds(steps_us), tolerance_s)
        return channel.rows[places], fresh

    def path(self, reading: int) -> Path:
        """Return the file of a reading.

        Raises:
            DatasetError: if its name leads out of the folder.
        """
        name, told = self._table.path(reading)
        return self.inside(name, f"{told}: filename")

    def inside(self, name: str, said_by: str) -> Path:
        """Return the path of a file by its name in the folder.

        Args:
            name: relative to the folder.
            said_by: where the name stands, for messages.

        Raises:
            DatasetError: if it leads out of the folder.
        """
        return self._inside.path(name, said_by=said_by, remedy="copy the tables again")

    def check(self, reading: int, *, depth: bool = False) -> None:
        """Refuse a reading whose file is missing, where that is not allowed, or empty or cut short as its size tells.

        Args:
            reading: which.
            depth: whether to look at the distances in the picture instead.

        Raises:
            DatasetError: naming the token and the file.
        """
        path, (name, told) = self.depth_path(reading) if depth else self.path(reading), self._table.path(reading)
        try:
            size = path.stat().st_size
        except OSError:
            if self._missing == "error":
                raise DatasetError(f"{told}: {path}: no such file; {REMEDY}{_OR_MASK}") from None
            return
        is_cloud = name.endswith(".bin")
        if (is_cloud and size % POINT_BYTES) or (not is_cloud and size == 0):
            raise DatasetError(f"{told}: {path}: has {size} bytes, so that it is cut short; {REMEDY}")

    def picture(self, reading: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """Return a picture (H, W, 3); None where its file is missing and that is allowed.

        Raises:
            DatasetError: naming the token and the file, if it is missing, damaged or of another size.
        """
        value = self._read(reading, read_picture)
        if value is not None and value.shape != shape:
            raise DatasetError(
                f"{self._table.path(reading)[1]}: {self.path(reading)} has height and width {list(value.shape[:2])}, "
                f"but the other pictures {list(shape[:2])}; copy the file again"
            )
        return value

    def depth(self, reading: int, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """Return the distances (H, W, 1) in a picture [m]; see `picture` for missing files."""
        return self._read(reading, partial(read_depth, shape=shape), self.depth_path(reading))

    def depth_path(self, reading: int) -> Path:
        """Return the file of the distances in a picture; see `path`."""
        name, told = self._table.path(reading)
        return self.inside(depth_name(name), f"{told}: filename")

    def lidar(self, reading: int, channel: Channel, step: Array, count: int) -> Array | None:
        """Return points (count, 4) in the ego frame of a control step, rows of NaN behind them; see `picture` for
        missing files.

        They are not rounded: whoever keeps them as float32 rounds them once.

        Args:
            reading: which.
            channel: of the sensor.
            step: (4, 4) pose of the car at the control step.
            count: rows of the result.
        """
        points = self._read(reading, read_lidar)
        if points is None:
            return None
        points = _thinned(points[np.isfinite(points[:, :4]).all(axis=1)], count)
        padded = np.full((count, 4), np.nan)
        padded[: len(points), :3] = move_points(self._to_step(reading, channel, inverse(step)), points[:, :3])
        padded[: len(points), 3] = points[:, 3]
        return padded

    def radar(self, readings: Sequence[int], channels: Sequence[Channel], step: Array, count: int) -> Array | None:
        """Return the targets (count, 5) of several radars in the ego frame of a control step, not rounded either.

        Files that are missing where that is allowed are passed over; without any, the result is None. The other
        arguments are those of `lidar`.
        """
        found = []
        to_ego = inverse(step)
        for reading, channel in zip(readings, channels, strict=True):
            targets = self._read(reading, read_radar)
            if targets is None:
                continue
            pose = self._to_step(reading, channel, to_ego)
            places, speeds = _columns(targets, "x", "y", "z"), _columns(targets, "vx_comp", "vy_comp")
            moved = move_points(pose, places)
            turned = speeds @ pose[:2, :2].T
            features = np.concatenate([moved[:, :2], turned, _columns(targets, "rcs")], axis=1)
            found.append(features[np.isfinite(features).all(axis=1)])
        if not found:
            return None
        targets = _thinned(np.concatenate(found), count)
        return np.concatenate([targets, np.full((count - len(targets), targets.shape[1]), np.nan)])

    def _to_step(self, reading: int, channel: Channel, to_ego: Array) -> Array:
        """Pose (4, 4) from the sensor's frame at its own time to the ego frame of the control step.

        Args:
            reading: which.
            channel: of the sensor.
            to_ego: (4, 4) from the global frame to the ego frame of the step.
        """
        return to_ego @ self._table.ego_poses(np.array([reading]))[0] @ channel.mount

    def _read(self, reading: int, read: Callable[[Path], Any], path: Path | None = None) -> Any:
        path, (_, told) = path or self.path(reading), self._table.path(reading)
        if self._missing == "mask" and not path.exists():
            return None
        try:
            return read(path)
        except DatasetError as problem:
            remedy = "" if path.exists() else _OR_MASK
            raise DatasetError(f"{told}: {problem}{remedy}") from None


def _thinned(points: NDArray[Any], count: int) -> NDArray[Any]:
    """At most so many points, spread evenly over the order in which they were measured."""
    if len(points) <= count:
        return points
    return points[np.linspace(0, len(points) - 1, count).round().astype(np.int64)]


def _columns(targets: NDArray[Any], *names: str) -> Array:
    return np.stack([targets[name].astype(np.float64) for name in names], axis=1)
