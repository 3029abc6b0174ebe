"""Scenes of nuScenes: which readings each has, in order of time, by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.layout import CAN_MESSAGES
from tempovla.data.nuscenes.poses import pose_matrices
from tempovla.data.nuscenes.tables import REMEDY, Table, Tables
from tempovla.storage.json_files import shown
from tempovla.storage.paths import is_plain_name

US = 1e-6
_LONGEST_MESSAGE = max(CAN_MESSAGES, key=len)


@dataclass(frozen=True)
class Channel:
    """Readings of one sensor in one scene, in order of time.

    Attributes:
        rows: (N,) records of `sample_data`.
        times_us: (N,) increasing [us].
        calibration: record of `calibrated_sensor`.
        mount: (4, 4) pose from the sensor's frame to the ego frame.
        rate_hz: rate of the readings, by the median of what lies between them [Hz]; None of a single one.
    """

    rows: NDArray[np.int64]
    times_us: NDArray[np.int64]
    calibration: int
    mount: NDArray[np.float64]
    rate_hz: float | None


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        row: record of `scene`.
        name: such as `scene-0061`.
        samples: (K,) records of its key frames, in order of time.
        times_us: (K,) their times [us].
        channels: readings by channel.
    """

    row: int
    name: str
    samples: NDArray[np.int64]
    times_us: NDArray[np.int64]
    channels: Mapping[str, Channel]

    def seconds(self, times_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return times since the first key frame [s]."""
        return (times_us - self.times_us[0]) * US


class SceneTable:
    """All scenes of the tables, in their order there; what a scene consists of is put together when it is asked for.

    Args:
        tables: the tables.

    Raises:
        DatasetError: if a scene has no key frame, no reading or a name that no file can have, or times do not increase
            from one record to the next.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        samples, readings = tables["sample"], tables["sample_data"]
        _check_chain(samples)
        _check_chain(readings)
        self._samples, self._first_sample = _grouped(samples["scene_token"], samples["timestamp"], len(tables["scene"]))
        lengths = np.diff(self._first_sample)
        for row in np.flatnonzero(lengths == 0).tolist():
            raise DatasetError(f"{tables['scene'].told(row)} has no sample in {samples.path.name}; {REMEDY}")
        for row in np.flatnonzero(lengths != tables["scene"]["nbr_samples"]).tolist():
            raise DatasetError(
                f"{tables['scene'].told(row)} has nbr_samples {tables['scene']['nbr_samples'][row]}, but "
                f"{lengths[row]} in {samples.path.name}; {REMEDY}"
            )
        for row, name in enumerate(tables["scene"]["name"]):
            if not is_plain_name(f"{name}_{_LONGEST_MESSAGE}.json"):
                raise DatasetError(f"{tables['scene'].told(row)}: name {shown(name)} is no name of files; {REMEDY}")
        scenes = samples["scene_token"][readings["sample_token"]]
        self._readings, self._first_reading = _grouped(scenes, readings["timestamp"], len(tables["scene"]))
        for row in np.flatnonzero(np.diff(self._first_reading) == 0).tolist():
            raise DatasetError(
                f"{tables['scene'].told(row)} has no reading in {readings.path.name}, so that no "
                f"pose of its car is known; {REMEDY}"
            )
        sensors = tables["calibrated_sensor"]["sensor_token"][readings["calibrated_sensor_token"]]
        self.channel_of = tables["sensor"]["channel"][sensors] if len(readings) else np.empty(0, object)
        marks = tables["sample_annotation"]
        self._marks, self._first_mark = _grouped(marks["sample_token"], np.arange(len(marks)), len(samples))
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def scene(self, row: int) -> Scene:
        """Return one scene.

        Raises:
            DatasetError: if two readings of a channel, or two key frames, have the same time, or the calibration of a
                channel changes within the scene.
        """
        tables = self.tables
        samples = self._samples[self._first_sample[row] : self._first_sample[row + 1]]
        times_us = _increasing(tables["sample"], samples)
        readings = self._readings[self._first_reading[row] : self._first_reading[row + 1]]
        channels = {}
        for channel in sorted(set(self.channel_of[readings].tolist())):
            channels[channel] = self._channel(readings[self.channel_of[readings] == channel])
        return Scene(row, str(tables["scene"]["name"][row]), samples, times_us, channels)

    def _channel(self, rows: NDArray[np.int64]) -> Channel:
        readings, sensors = self.tables["sample_data"], self.tables["calibrated_sensor"]
        times_us = _increasing(readings, rows)
        calibrations = readings["calibrated_sensor_token"][rows]
        changed = np.flatnonzero(calibrations != calibrations[0])
        if len(changed):
            raise DatasetError(
                f"{readings.told(int(rows[changed[0]]))} has another calibrated_sensor than the readings before it in "
                f"its scene; {REMEDY}"
            )
        row = int(calibrations[0])
        mount = pose_matrices(sensors["translation"][row], sensors["rotation"][row])
        rate_hz = float(1 / (np.median(np.diff(times_us)) * US)) if len(rows) > 1 else None
        return Channel(rows, times_us, row, mount, rate_hz)

    def ego_poses(self, readings: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return poses (N, 4, 4) of the car at readings (N,), from its frame to the global one."""
        poses, rows = self.tables["ego_pose"], self.tables["sample_data"]["ego_pose_token"][readings]
        return pose_matrices(poses["translation"][rows], poses["rotation"][rows])

    def annotations(self, sample: int) -> NDArray[np.int64]:
        """Return (M,) records of `sample_annotation` of one key frame."""
        return self._marks[self._first_mark[sample] : self._first_mark[sample + 1]]

    def path(self, reading: int) -> tuple[str, str]:
        """Return the name of a reading's file, and the reading in words, for messages."""
        readings = self.tables["sample_data"]
        return str(readings["filename"][reading]), readings.told(reading)

    def log_file(self, row: int) -> str:
        """Return the name of the log of a scene."""
        return str(self.tables["log"]["logfile"][self.tables["scene"]["log_token"][row]])

    def location(self, row: int) -> str:
        """Return where a scene was recorded."""
        return str(self.tables["log"]["location"][self.tables["scene"]["log_token"][row]])

    def map_file(self, row: int) -> Path | None:
        """Return the name of a scene's map; None where the tables know none."""
        log = int(self.tables["scene"]["log_token"][row])
        maps = self.tables["map"]
        found = next((index for index, logs in enumerate(maps["log_tokens"]) if log in logs), None)
        return None if found is None else Path(str(maps["filename"][found]))


def _grouped(
    groups: NDArray[np.int64], order: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by group, in each by `order`, and where each group begins among them, (count + 1,)."""
    rows = np.lexsort((order, groups))
    return rows, np.searchsorted(groups[rows], np.arange(count + 1))


def _check_chain(table: Table) -> None:
    """Refuse records whose next one is not later."""
    rows = np.flatnonzero(table["next"] >= 0)
    times = table["timestamp"]
    for row in rows[times[table["next"][rows]] <= times[rows]].tolist():
        after = int(table["next"][row])
        raise DatasetError(
            f"{table.told(row)} is at {times[row]} us, but its next one, {table.token(after)!r}, at {times[after]} us, "
            f"which is not later; {REMEDY}"
        )


def _increasing(table: Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    times = table["timestamp"][rows]
    for place in np.flatnonzero(np.diff(times) <= 0).tolist():
        one, other = (table.token(int(rows[index])) for index in (place, place + 1))
        raise DatasetError(
            f"{table.path}: {table.name} {one!r} and {other!r} of one sensor have the same time {times[place]} us; "
            f"{REMEDY}"
        )
    return times
