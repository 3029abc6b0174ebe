"""The car of nuScenes with its cameras."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.scenes import Scene, SceneTable
from tempovla.data.nuscenes.streams import CHANNEL_OF
from tempovla.storage.said_by import said_by
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.driving import ACTION_NAMES, STATE_NAMES
from tempovla.timeline.source import StreamInfo
from tempovla.timeline.task import Embodiment


def scene_cameras(table: SceneTable, scene: Scene, streams: Mapping[str, StreamInfo]) -> tuple[CameraCalibration, ...]:
    """Return the calibrations of the cameras in a scene, their poses in the ego frame.

    Args:
        table: where the scene is from.
        scene: the scene.
        streams: which cameras count, and their rates.

    Raises:
        DatasetError: naming the token, if a calibration is no pinhole camera.
    """
    sensors, readings = table.tables["calibrated_sensor"], table.tables["sample_data"]
    found = []
    for key, name in CHANNEL_OF.items():
        channel = scene.channels.get(name)
        if channel is None or key not in streams or not streams[key].is_picture:
            continue
        row, first = channel.calibration, int(channel.rows[0])
        told = f"{sensors.told(row)}: camera_intrinsic"
        try:
            matrix = np.array(sensors["camera_intrinsic"][row], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.empty(0)
        if matrix.shape != (3, 3):
            raise DatasetError(f"{told} is not 3 x 3 numbers; copy the tables again")
        with said_by(told, remedy="copy the tables again", error=DatasetError):
            found.append(
                CameraCalibration(
                    key,
                    int(readings["width"][first]),
                    int(readings["height"][first]),
                    float(matrix[0, 0]),
                    float(matrix[1, 1]),
                    float(matrix[0, 2]),
                    float(matrix[1, 2]),
                    pose=tuple(tuple(line) for line in channel.mount.tolist()),
                    frame="base",
                    rate_hz=streams[key].rate_hz,
                )
            )
    return tuple(found)


def shared_body(table: SceneTable, streams: Mapping[str, StreamInfo], rate_hz: float) -> Embodiment:
    """Return the car with the calibrations of the first scene; those of others differ a little, see `embodiment_of`.

    Args:
        table: the scenes.
        streams: which cameras count.
        rate_hz: control rate [Hz].
    """
    cameras: dict[str, CameraCalibration] = {}
    for row in range(len(table)):
        for camera in scene_cameras(table, table.scene(row), streams):
            cameras.setdefault(camera.stream, camera)
        if all(key in cameras for key, stream in streams.items() if stream.is_picture):
            break
    return Embodiment("nuscenes-car", 4, 3, rate_hz, STATE_NAMES, ACTION_NAMES, tuple(cameras.values()))
