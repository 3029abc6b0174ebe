"""What nuScenes' files consist of: tables, channels, fields of points, and the records that a writer takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.driving import SURROUND_CAMERAS

TABLES = (
    "map",
    "log",
    "visibility",
    "attribute",
    "category",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "sample",
    "sample_data",
    "instance",
    "sample_annotation",
    "scene",
)
"""Names of the tables, in the order in which they are written: each comes after those that its tokens lead to, but for
samples, which name their scene, and instances, which name their annotations."""

CAMERA_CHANNELS = {f"CAM_{camera.upper()}": camera for camera in SURROUND_CAMERAS}
"""Names of the cameras in streams, by channel."""
DEPTH_FOLDER = "depth"
"""Beside `samples` and `sweeps`: distances in the pictures, which nuScenes does not have and its readers pass by. The
file `depth/CAM_FRONT/x.png` belongs to the picture `CAM_FRONT/x.jpg`."""
DEPTH_UNIT_M = 1 / 256
"""Unit of their 16 bits, as in KITTI's depth maps, where 0 is no reading, too [m]."""
LIDAR_CHANNEL = "LIDAR_TOP"
RADAR_CHANNELS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")

Modality = Literal["camera", "lidar", "radar"]
SUFFIXES: dict[Modality, str] = {"camera": "jpg", "lidar": "pcd.bin", "radar": "pcd"}

LIDAR_FIELDS = 5
"""Numbers of one LiDAR point: x, y, z, intensity and ring."""
RADAR_DTYPE = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("dyn_prop", "i1"),
        ("id", "<i2"),
        ("rcs", "<f4"),
        ("vx", "<f4"),
        ("vy", "<f4"),
        ("vx_comp", "<f4"),
        ("vy_comp", "<f4"),
        ("is_quality_valid", "i1"),
        ("ambig_state", "i1"),
        ("x_rms", "i1"),
        ("y_rms", "i1"),
        ("invalid_state", "i1"),
        ("pdh0", "i1"),
        ("vx_rms", "i1"),
        ("vy_rms", "i1"),
    ]
)
"""The 18 fields of a radar target, in the sensor's frame; `vx_comp` and `vy_comp` are velocities over ground."""

CAN_MESSAGES = ("ms_imu", "pose", "steeranglefeedback", "vehicle_monitor", "zoesensors", "zoe_veh_info", "route")
"""Messages on the CAN bus, and the route that was planned before the drive."""
SCENES_WITHOUT_CAN = frozenset({*range(161, 169), *range(170, 177), *range(309, 315)})
"""Numbers of nuScenes' scenes that have no CAN data; its tools refuse to look for any."""
SIDECAR_MARK = "tempovla_"
"""Begins what we add beside the CAN files, so that no message is mistaken for it."""

LOCATIONS = ("singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport")
"""Places for which nuScenes' map tools have maps; they refuse other names."""
MAP_RESOLUTION_M = 0.1
"""Size of a map's pixel, which no file states [m]."""

WHEEL_BASE_M = 2.588
"""Of nuScenes' cars, two Renault Zoe [m]."""
STEERING_RATIO = 14.0
"""Turn of the steering wheel, which `steeranglefeedback` measures, for one of the front wheels. No file states it: this
is a typical value of small cars."""

VISIBILITIES = {1: "v0-40", 2: "v40-60", 3: "v60-80", 4: "v80-100"}
"""Share of an object that the cameras see [%], by token."""
CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)

_SCENE_NAME = re.compile(r"scene-(\d{4})").fullmatch


@dataclass(frozen=True)
class SensorCalibration:
    """Where a sensor is on the car.

    Attributes:
        modality: `camera`, `lidar` or `radar`.
        translation: (3,) of the sensor in the ego frame [m].
        rotation: (4,) unit quaternion w, x, y, z from the sensor's frame to the ego frame. A camera's frame has x to
            the right, y down and z forward; a radar's x forward and y to the left.
        intrinsics: (3, 3) of a camera [px]; None for other sensors.
    """

    modality: Modality
    translation: NDArray[np.float64]
    rotation: NDArray[np.float64]
    intrinsics: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class EgoPose:
    """Where the car is.

    Attributes:
        time_us: when [us].
        translation: (3,) of the ego frame in the global frame, whose x and y are positive on the map [m].
        rotation: (4,) unit quaternion w, x, y, z from the ego frame to the global frame.
    """

    time_us: int
    translation: NDArray[np.float64]
    rotation: NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """An object at a key frame.

    Attributes:
        instance: name of the object, which stays the same within a scene.
        category: one of `CATEGORIES`.
        attribute: one of `ATTRIBUTES`; "" for none.
        center: (3,) of the box in the global frame [m].
        size: (3,) width, length and height [m].
        yaw: heading in the global frame [rad].
        num_lidar_points: LiDAR points on it in this key frame.
        num_radar_points: radar targets on it in this key frame.
        visibility: 1 to 4; see `VISIBILITIES`.
    """

    instance: str
    category: str
    attribute: str
    center: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: float
    num_lidar_points: int = 0
    num_radar_points: int = 0
    visibility: int = 4


def scene_number(name: str) -> int | None:
    """Return the number of a scene's name, such as 61 for `scene-0061`; None if it is no such name."""
    found = _SCENE_NAME(name)
    return int(found.group(1)) if found else None


def scene_names(count: int, first: int = 1) -> list[str]:
    """Return names of scenes that nuScenes' tools take: numbered, without those that have no CAN data.

    Args:
        count: how many.
        first: the lowest number.

    Raises:
        ValueError: if there are not so many.
    """
    numbers = [number for number in range(max(first, 1), 10000) if number not in SCENES_WITHOUT_CAN][:count]
    if len(numbers) < count:
        raise ValueError(f"{count} scenes from number {first} on are more than four digits name; write fewer")
    return [f"scene-{number:04d}" for number in numbers]
