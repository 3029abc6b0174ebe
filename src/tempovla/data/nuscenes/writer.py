"""Writing nuScenes' files, scene by scene."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.files import png_bytes, read_json_list
from tempovla.data.nuscenes.layout import (
    ATTRIBUTES,
    CATEGORIES,
    MAP_RESOLUTION_M,
    SCENES_WITHOUT_CAN,
    TABLES,
    VISIBILITIES,
    SensorCalibration,
    scene_number,
)
from tempovla.data.nuscenes.records import Record, SceneRecords, token
from tempovla.data.nuscenes.scene_writer import SceneWriter
from tempovla.storage.lock import FolderLock
from tempovla.storage.whole import write_bytes

_MOST_TABLE_BYTES = 8 << 30
_VERSION_START = "v1.0-"


class NuScenesWriter:
    """Writes a folder of nuScenes' format; a context manager.

    A scene appears in the tables as a whole when it is finished. If the process is killed, at most the scene in
    progress is lost. A folder that holds scenes already is gone on with.

    Args:
        root: the folder, which is made if it is missing.
        version: name of the folder of tables in it, such as `v1.0-mini`.
        location: name of the map; nuScenes' map tools know the four in `layout.LOCATIONS` alone.
        vehicle: name of the car.
        map_mask: (R, C) uint8, 255 where one can drive and 0 elsewhere. As in a picture, the first row is the one with
            the largest y: the pixel in row r and column c lies around x = c and y = R - r, in units of
            `map_resolution`.
        map_resolution: size of a pixel [m]; readers of nuScenes take it to be 0.1.

    Raises:
        ValueError: if an argument is none of these.
        DatasetError: if another process writes the folder, or its tables cannot be gone on with.
        NotWrittenError: if the disk does not take them.
    """

    def __init__(
        self,
        root: str | Path,
        version: str = "v1.0-mini",
        location: str = "singapore-onenorth",
        vehicle: str = "sim",
        *,
        map_mask: NDArray[np.uint8],
        map_resolution: float = MAP_RESOLUTION_M,
    ) -> None:
        if not version.startswith(_VERSION_START) or os.sep in version:
            raise ValueError(f"version={version!r} must be a name that begins with {_VERSION_START}, e.g. v1.0-mini")
        if map_mask.ndim != 2 or map_mask.dtype != np.uint8 or not np.isin(map_mask, (0, 255)).all():
            raise ValueError(
                f"map_mask has shape {list(map_mask.shape)} and type {map_mask.dtype}; give (R, C) of uint8, 255 where "
                "one can drive and 0 elsewhere"
            )
        if abs(map_resolution - MAP_RESOLUTION_M) > 1e-9:
            raise ValueError(f"map_resolution={map_resolution} must be {MAP_RESOLUTION_M}; resize the mask")
        self.root = Path(root)
        self.version = version
        self.location = location
        self.vehicle = vehicle
        self.map_size_m = (map_mask.shape[1] * map_resolution, map_mask.shape[0] * map_resolution)
        self._scene: SceneWriter | None = None
        self._lock = FolderLock(
            self.root, "writes nuScenes' files", remedy="wait for it, or write another folder", error=DatasetError
        )
        try:
            self._tables = {name: self._known(name) for name in TABLES}
            self._drop_unfinished()
            self._chunks = {name: [_lines(rows)] if rows else [] for name, rows in self._tables.items()}
            self._names = {row["name"] for row in self._tables["scene"]}
            self._maps: list[Record] = self._tables["map"]
            self._sensors = {row["channel"]: row["modality"] for row in self._tables["sensor"]}
            self._tables.clear()  # the lines are all that is needed from here on
            self._write_constants()
            self._map = self._own_map(map_mask)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Discard a scene in progress, and let others write the folder."""
        if self._scene is not None:
            self._scene.discard()
        self._lock.release()

    @property
    def scene_names(self) -> frozenset[str]:
        """Names of the scenes that the folder holds."""
        return frozenset(self._names)

    def start_scene(self, name: str, description: str, calibrations: Mapping[str, SensorCalibration]) -> SceneWriter:
        """Return the writer of a new scene.

        Args:
            name: `scene-` and four digits, which are not among `layout.SCENES_WITHOUT_CAN`; `layout.scene_names` makes
                some.
            description: of what happens.
            calibrations: by channel, such as `CAM_FRONT`, `LIDAR_TOP` or `RADAR_FRONT`.

        Raises:
            ValueError: if the name is none or taken, another scene is in progress, or a channel had another modality
                in earlier scenes.
        """
        if self._scene is not None:
            raise ValueError(f"scene {self._scene.name!r} is in progress; finish or discard it first")
        if scene_number(name) in {None, 0, *SCENES_WITHOUT_CAN}:
            raise ValueError(
                f"name={name!r} must be scene- and four digits, for which readers look for CAN data; take one of "
                "layout.scene_names()"
            )
        if name in self._names:
            raise ValueError(f"{self.root}: holds {name!r} already; give another name, or write another folder")
        for channel, calibration in calibrations.items():
            known = self._sensors.get(channel, calibration.modality)
            if known != calibration.modality:
                raise ValueError(f"{channel} is a {calibration.modality}, but a {known} in earlier scenes; rename it")
        self._scene = SceneWriter(self.root, name, description, calibrations, self.map_size_m, self.vehicle, self._end)
        return self._scene

    def _end(self, finished: SceneRecords | None) -> None:
        """What a scene calls at its end, with its records unless it is discarded; its files are in place by then."""
        assert self._scene is not None
        scene, self._scene = self._scene, None
        if finished is None:
            return
        log = token("log", scene.name)
        row = {
            "token": log,
            "logfile": scene.logfile,
            "vehicle": self.vehicle,
            "date_captured": scene.date,
            "location": self.location,
        }
        new = [channel for channel in scene.calibrations if channel not in self._sensors]
        self._sensors |= {channel: scene.calibrations[channel].modality for channel in new}
        self._map["log_tokens"].append(log)
        self._chunks["map"] = [_lines(self._maps)]
        rows = {
            **finished,
            "log": [row],
            "sensor": [
                {"token": token("sensor", channel), "channel": channel, "modality": self._sensors[channel]}
                for channel in new
            ],
        }
        for name, records in rows.items():
            if records:
                self._chunks[name].append(_lines(records))
        for name in TABLES:  # the scene comes last: without it, nothing leads to the rest
            if name == "map" or rows.get(name):
                self._write(name)
        self._names.add(scene.name)

    def _path(self, table: str) -> Path:
        return self.root / self.version / f"{table}.json"

    def _write(self, table: str) -> None:
        write_bytes(self._path(table), b"[\n" + b",\n".join(self._chunks[table]) + b"\n]\n")

    def _known(self, table: str) -> list[Record]:
        path = self._path(table)
        return read_json_list(path, most_bytes=_MOST_TABLE_BYTES) if path.exists() else []

    def _drop_unfinished(self) -> None:
        """Leave out what a killed writer left in the tables of a scene that is not among the scenes."""
        tables = self._tables
        try:
            scenes = {row["token"] for row in tables["scene"]}
            logs = {row["log_token"] for row in tables["scene"]}
            samples = {row["token"] for row in tables["sample"] if row["scene_token"] in scenes}
            tables["sample"] = [row for row in tables["sample"] if row["token"] in samples]
            tables["sample_data"] = [row for row in tables["sample_data"] if row["sample_token"] in samples]
            tables["sample_annotation"] = [row for row in tables["sample_annotation"] if row["sample_token"] in samples]
            used = {
                "log": logs,
                "ego_pose": {row["ego_pose_token"] for row in tables["sample_data"]},
                "calibrated_sensor": {row["calibrated_sensor_token"] for row in tables["sample_data"]},
                "instance": {row["instance_token"] for row in tables["sample_annotation"]},
            }
            for name, tokens in used.items():
                tables[name] = [row for row in tables[name] if row["token"] in tokens]
            for row in tables["map"]:
                row["log_tokens"] = [log for log in row["log_tokens"] if log in logs]
        except (KeyError, TypeError) as problem:
            raise DatasetError(
                f"{self.root / self.version}: its tables lack {problem}, so that they cannot be gone on with; write "
                "another folder"
            ) from None

    def _write_constants(self) -> None:
        """Tables that are the same whatever the scenes, and empty ones, so that readers find all of them."""
        constants: dict[str, list[Record]] = {
            "visibility": [
                {"token": str(level), "level": words, "description": f"visibility of whole object is {words[1:]}%"}
                for level, words in VISIBILITIES.items()
            ],
            "attribute": [{"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES],
            "category": [{"token": token("category", name), "name": name, "description": ""} for name in CATEGORIES],
        }
        for name in TABLES:
            if name in constants and not self._chunks[name]:
                self._chunks[name] = [_lines(constants[name])]
            if not self._path(name).exists():
                self._write(name)

    def _own_map(self, mask: NDArray[np.uint8]) -> Record:
        """The record of this map, new or not; its picture is written if there is none."""
        digest = hashlib.sha256(repr(mask.shape).encode() + mask.tobytes()).hexdigest()[:32]
        name = token("map", self.location, digest)
        for row in self._maps:
            if row["token"] == name:
                return row
        row = {"category": "semantic_prior", "token": name, "filename": f"maps/{name}.png", "log_tokens": []}
        write_bytes(self.root / row["filename"], png_bytes(mask))
        self._maps.append(row)
        return row


def _lines(records: Iterable[Record]) -> bytes:
    """Records of a table as JSON, without the brackets around them."""
    return ",\n".join(json.dumps(record, allow_nan=False) for record in records).encode()
