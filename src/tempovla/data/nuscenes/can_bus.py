"""Reading a scene's CAN messages, and what our writer adds beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.files import REMEDY, are_finite, is_whole, read_json_list
from tempovla.data.nuscenes.layout import SIDECAR_MARK
from tempovla.storage.json_files import shown

_LONGEST_ROUTE_M = 1e6


class CanBus:
    """Messages of one scene; a scene need not have any.

    Args:
        folder: the folder `can_bus`.
        scene: name of the scene.
    """

    def __init__(self, folder: Path, scene: str) -> None:
        self.folder, self.scene = folder, scene

    def path(self, name: str) -> Path:
        """Return the file of a message."""
        return self.folder / f"{self.scene}_{name}.json"

    def has(self, message: str) -> bool:
        """Return whether there is a file of this message."""
        return self.path(message).is_file()

    def rows(self, message: str, fields: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Return times (N,) [us] and values (N, F) of a message, in order of time; None where there are none.

        Of messages of the same time, the last one is kept.

        Args:
            message: its name.
            fields: wanted fields, each with its size: 0 for a number.

        Raises:
            DatasetError: naming the file, the row and the field that is not so.
        """
        if not self.has(message):
            return None
        path = self.path(message)
        records = read_json_list(path)
        if not records:
            return None
        when, values = _columns(records, fields) or _checked_rows(records, fields, path)
        order = np.argsort(when, kind="stable")
        last = np.append(np.diff(when[order]) > 0, True)
        return when[order][last], values[order][last]

    def route(self) -> NDArray[np.float64] | None:
        """Return the planned route (M, 2) in the global frame [m]; None where there is none.

        Raises:
            DatasetError: if the file holds something else, or a route of more than 1,000 km.
        """
        if not self.has("route"):
            return None
        points = read_json_list(self.path("route"))
        sound = all(
            isinstance(point, list) and len(point) == 2 and all(isinstance(n, int | float) for n in point)
            for point in points
        )
        if not sound or not are_finite(points):
            raise DatasetError(f"{self.path('route')}: is not a list of points x, y; {REMEDY}")
        route = np.array(points, dtype=np.float64).reshape(-1, 2)
        with np.errstate(over="ignore"):
            length_m = np.hypot(*np.diff(route, axis=0).T).sum()
        if length_m > _LONGEST_ROUTE_M:
            raise DatasetError(f"{self.path('route')}: is {length_m:.3g} m long, which no route is; {REMEDY}")
        return route if points else None

    def per_key_frame(self, name: str, count: int) -> list[Any] | None:
        """Return a sidecar of our writer that has an entry for each key frame; None where there is none.

        Args:
            name: of the sidecar.
            count: number of key frames.

        Raises:
            DatasetError: if it has more or fewer entries.
        """
        if not self.has(SIDECAR_MARK + name):
            return None
        path = self.path(SIDECAR_MARK + name)
        entries = read_json_list(path)
        if len(entries) != count:
            raise DatasetError(f"{path}: has {len(entries)} entries, but the scene has {count} key frames; {REMEDY}")
        return entries


def _columns(records: list[Any], fields: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Times (N,) and values (N, F) of rows that are sound, column by column, which is fast; None if one may not be."""
    parts = []
    try:
        times = [record["utime"] for record in records]
        for field, size in fields.items():
            column = np.array([record[field] for record in records])
            if column.dtype.kind not in "if" or column.shape != (len(records), size)[: 2 if size else 1]:
                return None
            parts.append(column.reshape(len(records), -1).astype(np.float64))
    except (KeyError, TypeError, ValueError):  # a row that is no object or lacks a field, or lists of several lengths
        return None
    values = np.concatenate(parts, axis=1)
    if not all(map(is_whole, times)) or not np.isfinite(values).all():
        return None
    return np.array(times, dtype=np.int64), values


def _checked_rows(
    records: list[Any], fields: dict[str, int], path: Path
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same row by row, so that the row that is not sound is named."""
    times, values = [], []
    for number, record in enumerate(records):
        time = record.get("utime") if isinstance(record, dict) else None
        if not is_whole(time):
            raise DatasetError(f"{path}: row {number} has no utime in whole microseconds; {REMEDY}")
        times.append(time)
        where = f"{path}: row {number}"
        values.append([n for field, size in fields.items() for n in _numbers(record.get(field), size, where, field)])
    return np.array(times, dtype=np.int64), np.array(values, dtype=np.float64)


def _numbers(value: Any, size: int, where: str, field: str) -> list[float]:
    values = value if size and isinstance(value, list) else [value]
    sound = len(values) == max(size, 1) and all(isinstance(n, int | float) for n in values)
    if not sound or not are_finite(values):
        wanted = f"{size} finite numbers" if size else "a finite number"
        raise DatasetError(f"{where} has {field} {shown(value)}, not {wanted}; {REMEDY}")
    return values
