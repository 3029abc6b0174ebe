"""Writing one scene: its sensor files as they come, its records at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tempovla.data.nuscenes.annotations import annotation_records, check_box
from tempovla.data.nuscenes.can_files import CanFiles
from tempovla.data.nuscenes.files import depth_bytes, depth_name, jpeg_bytes, lidar_bytes, radar_bytes
from tempovla.data.nuscenes.layout import SUFFIXES, Box, EgoPose, Modality, SensorCalibration
from tempovla.data.nuscenes.records import Record, SceneRecords, chain, token
from tempovla.storage.whole import working_folder

_UNIT = 1e-3
"""How far the length of a quaternion may be from 1."""
MOST_SHIFT_US = 250_000
"""A sensor's key frame is no further than this from that of the scene, which is half of the time between them [us]."""


@dataclass(frozen=True)
class _Sweep:
    """One reading of a sensor, whose file is written already."""

    time_us: int
    ego: EgoPose
    key_frame: bool
    height: int = 0
    width: int = 0


class SceneWriter:
    """One scene in the making; `NuScenesWriter.start_scene` makes it.

    Sensor files go to a hidden folder beside the scene's, and into their places when the scene is finished.

    Args:
        root: the folder of the dataset.
        name: of the scene.
        description: of what happens.
        calibrations: of the sensors by channel.
        map_size_m: of the map along x and y [m]; the car has to be on it.
        vehicle: name of the car.
        ended: is called with the records of the finished scene, or None if it is discarded.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        description: str,
        calibrations: Mapping[str, SensorCalibration],
        map_size_m: tuple[float, float],
        vehicle: str,
        ended: Callable[[SceneRecords | None], None],
    ) -> None:
        self.name, self.calibrations = name, dict(calibrations)
        for channel, calibration in self.calibrations.items():
            _check_calibration(channel, calibration)
        self.logfile = f"{vehicle}-{name}"
        self._root, self._description, self._map_size_m, self._ended = root, description, map_size_m, ended
        self._sweeps: dict[str, list[_Sweep]] = {channel: [] for channel in calibrations}
        self._key_frames: list[tuple[int, list[Box]]] = []
        self._can = CanFiles()
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(working_folder(root / name))
        self._is_open = True

    @property
    def date(self) -> str:
        """Day of the first key frame, as year-month-day."""
        return datetime.fromtimestamp(self._key_frames[0][0] * 1e-6, UTC).strftime("%Y-%m-%d")

    def add_camera(
        self,
        channel: str,
        time_us: int,
        rgb: NDArray[np.uint8],
        ego: EgoPose,
        key_frame: bool,
        depth: NDArray[Any] | None = None,
    ) -> None:
        """Add a picture.

        Args:
            channel: of the camera.
            time_us: when it was taken; times of one channel increase [us].
            rgb: (H, W, 3) uint8.
            ego: where the car was then.
            key_frame: whether it belongs to a key frame; other pictures are sweeps.
            depth: (H, W, 1) distances along the camera's axis [m], 0 where there is no reading; None writes none.

        Raises:
            ValueError: if an argument does not fit, naming it and the channel.
        """
        height, width = rgb.shape[:2]
        sweep = _Sweep(int(time_us), ego, key_frame, height, width)
        distances = None if depth is None else depth_bytes(depth, (height, width))
        self._add(channel, "camera", sweep, jpeg_bytes(rgb))
        if distances is not None:
            path = self._folder / depth_name(self._filename(channel, sweep))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(distances)

    def add_lidar(self, channel: str, time_us: int, points: NDArray[Any], ego: EgoPose, key_frame: bool) -> None:
        """Add a point cloud (N, 5): x, y, z [m], intensity and ring, in the sensor's frame; N may be 0.

        The other arguments and errors are those of `add_camera`.
        """
        self._add(channel, "lidar", _Sweep(int(time_us), ego, key_frame), lidar_bytes(points))

    def add_radar(self, channel: str, time_us: int, points: NDArray[Any], ego: EgoPose, key_frame: bool) -> None:
        """Add radar targets (N,) of `RADAR_DTYPE` in the sensor's frame; N may be 0.

        The other arguments and errors are those of `add_camera`.
        """
        self._add(channel, "radar", _Sweep(int(time_us), ego, key_frame), radar_bytes(points))

    def add_key_frame(self, time_us: int, boxes: Sequence[Box]) -> None:
        """Add a key frame, at the time of the LiDAR's, with all that is annotated in it.

        Raises:
            ValueError: if it is not after the one before, or a box has numbers or names that cannot be written.
        """
        self._require_open()
        if self._key_frames and time_us <= self._key_frames[-1][0]:
            raise ValueError(
                f"{self.name}: key frame at {time_us} us is not after the one at {self._key_frames[-1][0]} us; add "
                "them in order"
            )
        for box in boxes:
            check_box(box, f"{self.name}: key frame at {time_us} us")
        self._key_frames.append((int(time_us), list(boxes)))

    def add_can(self, message: str, rows: Iterable[Any]) -> None:
        """Add rows of a CAN message, or points x, y of the `route` in the global frame [m], behind earlier ones.

        Units are those of nuScenes: `pose` and `ms_imu` in m, s and rad, `steeranglefeedback` the angle of the steering
        wheel [rad], `vehicle_monitor.vehicle_speed` [km/h]. Each row but those of a route has its `utime` [us].

        Raises:
            ValueError: if there is no such message, or a row has no increasing `utime`.
        """
        self._require_open()
        self._can.add(message, rows, self.name)

    def add_sidecar(self, name: str, value: Any) -> None:
        """Add a file of JSON of our own beside the CAN files, which other readers of nuScenes pass by.

        The reader knows `commands`, a list of one of `timeline.driving.COMMANDS` for each key frame; `perturbed`, a
        list of booleans: whether the action from a key frame to the next one was disturbed, so that it is nothing to
        imitate; and `next_light`, what `data.nuscenes.lights.SIDECAR` says of each key frame.

        Args:
            name: a word.
            value: plain JSON values.

        Raises:
            ValueError: if the name is none.
        """
        self._require_open()
        self._can.add_sidecar(name, value)

    def discard(self) -> None:
        """Forget the scene and its files."""
        self._close(None)

    def finish(self) -> None:
        """Put the files into their places and the scene into the tables.

        Raises:
            ValueError: if there is no key frame, or readings of key frames do not fit those that were added. The scene
                stays open.
            NotWrittenError: if the disk does not take it.
        """
        self._require_open()
        if not self._key_frames:
            raise ValueError(f"{self.name}: has no key frame; add one, or discard the scene")
        self._can.check_sidecars(len(self._key_frames), self.name)
        records = self._records()
        messages = self._folder / "can_bus"
        messages.mkdir(exist_ok=True)  # it is there if an earlier attempt failed
        self._can.write(messages, self.name)
        for path in sorted(self._folder.rglob("*.*")):
            place = self._root / path.relative_to(self._folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
        self._close(records)

    def _close(self, records: SceneRecords | None) -> None:
        if self._is_open:
            self._is_open = False
            self._stack.close()
            self._ended(records)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError(f"{self.name}: is finished or discarded already; start another scene")

    def _add(self, channel: str, modality: Modality, sweep: _Sweep, data: bytes) -> None:
        self._require_open()
        calibration = self.calibrations.get(channel)
        if calibration is None or calibration.modality != modality:
            known = [name for name, other in self.calibrations.items() if other.modality == modality]
            raise ValueError(f"{self.name}: {channel!r} is no calibrated {modality}; these are: {', '.join(known)}")
        where = f"{self.name}: {channel} at {sweep.time_us} us"
        earlier = self._sweeps[channel]
        if earlier and sweep.time_us <= earlier[-1].time_us:
            raise ValueError(f"{where} is not after the reading at {earlier[-1].time_us} us; add them in order")
        _check_rotation(sweep.ego.rotation, f"{where}: ego")
        x, y, _ = _vector(sweep.ego.translation, f"{where}: ego")
        if not (0 <= x <= self._map_size_m[0] and 0 <= y <= self._map_size_m[1]):
            raise ValueError(
                f"{where}: the car is at x={x:.2f} and y={y:.2f}, off the map of {self._map_size_m[0]:g} x "
                f"{self._map_size_m[1]:g} m, whose corner is at 0, 0; move the coordinates"
            )
        path = self._folder / self._filename(channel, sweep)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        earlier.append(sweep)

    def _filename(self, channel: str, sweep: _Sweep) -> str:
        folder = "samples" if sweep.key_frame else "sweeps"
        suffix = SUFFIXES[self.calibrations[channel].modality]
        return f"{folder}/{channel}/{self.logfile}__{channel}__{sweep.time_us}.{suffix}"

    def _records(self) -> SceneRecords:
        scene = token("scene", self.name)
        samples: list[Record] = [
            {"token": token("sample", self.name, time_us), "timestamp": time_us, "scene_token": scene}
            for time_us, _ in self._key_frames
        ]
        chain(samples)
        readings = {channel: self._sample_data(channel, samples) for channel in self._sweeps}
        every = [record for records in readings.values() for record in records]
        poses = [
            _ego_record(record["token"], sweep.ego)
            for channel, records in readings.items()
            for record, sweep in zip(records, self._sweeps[channel], strict=True)
        ]
        instances, annotations = annotation_records(self.name, samples, [boxes for _, boxes in self._key_frames])
        row = {
            "token": scene,
            "log_token": token("log", self.name),
            "nbr_samples": len(samples),
            "first_sample_token": samples[0]["token"],
            "last_sample_token": samples[-1]["token"],
            "name": self.name,
            "description": self._description,
        }
        return {
            "calibrated_sensor": [
                _calibration_record(self.name, channel, calibration)
                for channel, calibration in self.calibrations.items()
            ],
            "ego_pose": poses,
            "sample": samples,
            "sample_data": every,
            "instance": instances,
            "sample_annotation": annotations,
            "scene": [row],
        }

    def _sample_data(self, channel: str, samples: Sequence[Record]) -> list[Record]:
        """Records of a channel's readings: key frames belong to the nearest sample, sweeps to the next one."""
        times = np.array([sample["timestamp"] for sample in samples])
        owners: dict[int, _Sweep] = {}
        records = []
        for sweep in self._sweeps[channel]:
            if sweep.key_frame:
                owner = int(np.abs(times - sweep.time_us).argmin())
                if owner in owners or abs(int(times[owner]) - sweep.time_us) > MOST_SHIFT_US:
                    raise ValueError(
                        f"{self.name}: {channel} at {sweep.time_us} us belongs to a key frame, but none that lacks it "
                        f"was added within {MOST_SHIFT_US} us; add one with add_key_frame"
                    )
                owners[owner] = sweep
            else:
                owner = min(int(np.searchsorted(times, sweep.time_us)), len(times) - 1)
            records.append(self._sweep_record(channel, sweep, samples[owner]["token"]))
        chain(records)
        return records

    def _sweep_record(self, channel: str, sweep: _Sweep, sample: str) -> Record:
        own = token("sample_data", self.name, channel, sweep.time_us)
        return {
            "token": own,
            "sample_token": sample,
            "ego_pose_token": own,
            "calibrated_sensor_token": token("calibrated_sensor", self.name, channel),
            "timestamp": sweep.time_us,
            "fileformat": SUFFIXES[self.calibrations[channel].modality].partition(".")[0],
            "is_key_frame": sweep.key_frame,
            "height": sweep.height,
            "width": sweep.width,
            "filename": self._filename(channel, sweep),
        }


def _ego_record(own: str, ego: EgoPose) -> Record:
    return {
        "token": own,
        "timestamp": int(ego.time_us),
        "rotation": np.asarray(ego.rotation, np.float64).tolist(),
        "translation": np.asarray(ego.translation, np.float64).tolist(),
    }


def _calibration_record(scene: str, channel: str, calibration: SensorCalibration) -> Record:
    intrinsics = calibration.intrinsics
    return {
        "token": token("calibrated_sensor", scene, channel),
        "sensor_token": token("sensor", channel),
        "translation": np.asarray(calibration.translation, np.float64).tolist(),
        "rotation": np.asarray(calibration.rotation, np.float64).tolist(),
        "camera_intrinsic": [] if intrinsics is None else np.asarray(intrinsics, np.float64).tolist(),
    }


def _check_calibration(channel: str, calibration: SensorCalibration) -> None:
    if calibration.modality not in SUFFIXES:
        raise ValueError(f"{channel}: modality={calibration.modality!r} must be one of {', '.join(SUFFIXES)}")
    _vector(calibration.translation, channel)
    _check_rotation(calibration.rotation, channel)
    intrinsics = calibration.intrinsics
    is_camera = calibration.modality == "camera"
    if is_camera != (intrinsics is not None and np.asarray(intrinsics).shape == (3, 3)):
        raise ValueError(f"{channel}: intrinsics are (3, 3) for a camera and None for another sensor")


def _vector(values: ArrayLike, where: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise ValueError(f"{where}: translation {array.tolist()} must be three finite numbers [m]")
    return array


def _check_rotation(values: ArrayLike, where: str) -> None:
    array = np.asarray(values, np.float64)
    if array.shape != (4,) or not abs(float(np.linalg.norm(array)) - 1) <= _UNIT:
        raise ValueError(f"{where}: rotation {array.tolist()} must be a unit quaternion w, x, y, z")
