"""Scenes of the driving simulator's rule-based driver in nuScenes' format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.layout import RECORDING_PATH
from tempovla.data.nuscenes.files import read_json_list
from tempovla.data.nuscenes.layout import (
    CAMERA_CHANNELS,
    LIDAR_CHANNEL,
    MAP_RESOLUTION_M,
    RADAR_DTYPE,
    STEERING_RATIO,
    Box,
    EgoPose,
    SensorCalibration,
    scene_names,
)
from tempovla.data.nuscenes.poses import quaternions, yaw_quaternions
from tempovla.data.nuscenes.scene_writer import SceneWriter
from tempovla.data.nuscenes.writer import NuScenesWriter
from tempovla.env.driving.agents import KINDS
from tempovla.env.driving.cameras import MOUNTINGS, intrinsics_of, rotation_of
from tempovla.env.driving.config import DrivingConfig
from tempovla.env.driving.ground import ground_of
from tempovla.env.driving.mountings import LIDAR_POSITION, LIDAR_YAW_RAD, RADARS
from tempovla.env.driving.recording import Annotation, Frame, RecordedScene, SceneRecorder
from tempovla.env.registry import simulator_name
from tempovla.env.worker import Worker
from tempovla.recipe.collection.collect import Collection, expert_results
from tempovla.recipe.progress import CountProgress
from tempovla.rollout.metrics import SuccessRate
from tempovla.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from tempovla.env.driving.radar import Targets

RECORD = "collect.json"
VERSION, LOCATION, VEHICLE = "v1.0-mini", "boston-seaport", "sim"
"""The location is one of those that nuScenes' map tools know, where one drives on the right."""
_FIRST_US = 1_767_225_600_000_000
_SCENE_APART_US = 600_000_000
_GRAVITY_M_S2 = 9.81
_REQUESTS_AHEAD = 2
_VISIBILITY_STEPS = (0.4, 0.6, 0.8)
_STATIONARY_M_S = 0.3
_CONSTANT_FIELDS = {
    "is_quality_valid": 1,
    "ambig_state": 3,
    "x_rms": 19,
    "y_rms": 19,
    "pdh0": 1,
    "vx_rms": 16,
    "vy_rms": 16,
}
"""What real radars nearly always say of a valid target."""


def collect_driving(folder: str | Path, collection: Collection, *, workers: int = 2) -> dict[str, Any]:
    """Write the scenes into `folder`, or those that an interrupted run of the same call left out.

    The tasks, which are conditions of light and weather, take turns. A scene whose driver failed is tried again with
    another seed. `collect.json` holds the request and how often it was tried.

    Returns:
        The value of `expert_results`.

    Raises:
        ValueError: for an unknown task or town, or if the folder holds other scenes.
        DatasetError: if another process writes there.
        ModuleNotFoundError: if SUMO is not installed.
    """
    folder, config = Path(folder), collection.env_config
    assert isinstance(config, DrivingConfig)
    for task in collection.tasks:
        config.check_task(task)
    jobs = _jobs(collection)
    record = _opened_record(folder, collection)
    mask = map_mask(config.town)
    with NuScenesWriter(folder, VERSION, LOCATION, VEHICLE, map_mask=mask, map_resolution=MAP_RESOLUTION_M) as writer:
        write_json(folder / RECORDING_PATH, _recording(config))
        missing = {name: job for name, job in jobs.items() if name not in writer.scene_names}
        with CountProgress("scenes", len(jobs), done=len(jobs) - len(missing)) as progress:
            scenes = _played(list(missing.values()), config, collection, workers)
            for name, scene in zip(missing, scenes, strict=True):
                record["scenes"][name] = {"task": scene.task, "seed": scene.seed, "attempts": scene.attempts}
                write_json(folder / RECORD, record)
                write_scene(writer, name, scene, config)
                progress.advance(now=scene.task)
    tried: dict[str, list[int]] = {}
    for one in record["scenes"].values():
        tried.setdefault(one["task"], []).append(one["attempts"])
    steps = round(config.seconds * config.embodiment.rate_hz)
    return expert_results(
        {task: SuccessRate(len(attempts), sum(attempts)) for task, attempts in tried.items()},
        {task: [steps] * len(attempts) for task, attempts in tried.items()},
    )


def _jobs(collection: Collection) -> dict[str, tuple[str, int]]:
    """Task and number of each scene, by its name."""
    tasks = collection.tasks
    count = collection.scenes or collection.episodes * len(tasks)
    return {name: (tasks[index % len(tasks)], index // len(tasks)) for index, name in enumerate(scene_names(count))}


def _opened_record(folder: Path, collection: Collection) -> dict[str, Any]:
    """What `collect.json` says, or its beginning.

    Raises:
        ValueError: if the folder holds scenes of another request.
    """
    path, asked = folder / RECORD, collection.asked()
    asked |= {name: getattr(collection.env_config, name) for name in ("seconds", "sweeps", "cameras")}
    asked |= {"depth": True} if getattr(collection.env_config, "depth", False) else {}
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    counts = ("episodes", "scenes")  # a folder may get more of them
    if not path.exists():
        scenes = folder / VERSION / "scene.json"
        # A run that ended before its first scene leaves empty tables.
        if scenes.exists() and read_json_list(scenes):
            raise ValueError(f"{path}: no such file, but there are scenes; choose another folder")
        return {"asked": asked, "scenes": {}}
    record = read_json(path, remedy="choose another folder")
    for key in {**asked, **record["asked"]}:
        before, now = record["asked"].get(key), asked.get(key)
        if key not in counts and before != now:
            raise ValueError(
                f"{path}: {key} was {before}, and is {now} now; choose another folder, or repeat the call that made it"
            )
    return record | {"asked": asked}


def _recording(config: DrivingConfig) -> dict[str, Any]:
    """How cameras and LiDAR see, which a policy must find again; not what may differ in an evaluation."""
    told = config.recording(simulator_name(config))
    return {name: value for name, value in told.items() if name not in config.varied}


def _played(
    jobs: list[tuple[str, int]], config: DrivingConfig, collection: Collection, workers: int
) -> Iterator[RecordedScene]:
    """Scenes in the order of the jobs, played by several processes."""
    if not jobs:
        return
    attempts = collection.behaviour.max_attempts
    pool = [Worker(SceneRecorder, config, collection.seed, attempts) for _ in range(min(workers, len(jobs)))]
    try:
        for worker in pool:
            worker.receive()
        turns = [pool[index % len(pool)] for index in range(len(jobs))]
        ahead = min(len(jobs), _REQUESTS_AHEAD * len(pool))
        for index in range(ahead):
            turns[index].send("record", *jobs[index])
        for index in range(len(jobs)):
            scene = turns[index].receive()
            if index + ahead < len(jobs):
                turns[index + ahead].send("record", *jobs[index + ahead])
            yield scene
    finally:
        for worker in pool:
            worker.close()


def map_mask(town: str) -> NDArray[np.uint8]:
    """Return where one can drive in a town, (R, R) uint8, 255 there and 0 elsewhere, `MAP_RESOLUTION_M` a pixel."""
    surface = ground_of(town).surface
    size = math.ceil(surface.side_m / MAP_RESOLUTION_M)
    middles = (np.arange(size) + 0.5) * MAP_RESOLUTION_M
    columns = np.minimum((middles / surface.cell_m).astype(int), len(surface.kinds) - 1)
    rows = np.clip((surface.side_m - middles[::-1]) / surface.cell_m, 0, len(surface.kinds) - 1).astype(int)
    return np.where(surface.drivable[np.ix_(rows, columns)], 255, 0).astype(np.uint8)


def calibrations_of(config: DrivingConfig) -> dict[str, SensorCalibration]:
    """Return where the sensors that are on sit on the car, by nuScenes' channels."""
    found = {
        MOUNTINGS[camera].channel: SensorCalibration(
            "camera",
            np.array(MOUNTINGS[camera].position),
            quaternions(rotation_of(camera)),
            intrinsics_of(camera, config.image_width, config.image_height),
        )
        for camera in config.seen
    }
    if "lidar" in config.measured:
        found[LIDAR_CHANNEL] = SensorCalibration("lidar", np.array(LIDAR_POSITION), yaw_quaternions(LIDAR_YAW_RAD))
    if "radar" in config.measured:
        for name, mounting in RADARS.items():
            turn = yaw_quaternions(math.radians(mounting.yaw_deg))
            found[name] = SensorCalibration("radar", np.array(mounting.position), turn)
    return found


def write_scene(writer: NuScenesWriter, name: str, scene: RecordedScene, config: DrivingConfig) -> None:
    """Write one scene.

    Args:
        writer: of the folder.
        name: of the scene.
        scene: what was recorded.
        config: with which it was.
    """
    start_us = _FIRST_US + int(name.removeprefix("scene-")) * _SCENE_APART_US
    words = f"{scene.town}, {scene.task}"
    out = writer.start_scene(name, words, calibrations_of(config))
    for frame in scene.frames:
        _write_frame(out, frame, start_us)
    for message, rows in can_rows(scene, start_us).items():
        out.add_can(message, rows)
    out.add_can("route", scene.route.tolist())
    facts = {"town": scene.town, "condition": scene.task, "seed": scene.seed}
    for sidecar, value in {
        "commands": scene.commands,
        "perturbed": scene.perturbed,
        "lights": scene.lights,
        "next_light": scene.next_light,
        **facts,
    }.items():
        out.add_sidecar(sidecar, value)
    out.finish()


def _write_frame(out: SceneWriter, frame: Frame, start_us: int) -> None:
    time_us = start_us + round(frame.time_s * 1e6)
    x, y, yaw = frame.pose
    ego = EgoPose(time_us, np.array([x, y, 0.0]), yaw_quaternions(yaw))
    channels = {camera: channel for channel, camera in CAMERA_CHANNELS.items()}
    for camera, picture in frame.pictures.items():
        out.add_camera(channels[camera], time_us, picture, ego, frame.key, frame.depths.get(camera))
    if frame.lidar is not None:
        out.add_lidar(LIDAR_CHANNEL, time_us, in_lidar_frame(frame.lidar), ego, frame.key)
    for name, targets in frame.radar.items():
        out.add_radar(name, time_us, radar_fields(targets), ego, frame.key)
    if frame.key:
        out.add_key_frame(time_us, [_box(annotation) for annotation in frame.annotations])


def in_lidar_frame(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return LiDAR points (N, 5) of the ego frame in the sensor's frame."""
    cosine, sine = math.cos(LIDAR_YAW_RAD), math.sin(LIDAR_YAW_RAD)
    moved = points[:, :3].astype(np.float64) - LIDAR_POSITION
    out = points.copy()
    out[:, 0] = cosine * moved[:, 0] + sine * moved[:, 1]
    out[:, 1] = cosine * moved[:, 1] - sine * moved[:, 0]
    out[:, 2] = moved[:, 2]
    return out


def radar_fields(targets: Targets) -> NDArray[Any]:
    """Return radar targets as nuScenes' 18 fields, (N,) of `RADAR_DTYPE`."""
    rows = np.zeros(len(targets.places), RADAR_DTYPE)
    rows["x"], rows["y"] = targets.places.T
    rows["vx"], rows["vy"] = targets.relative.T
    rows["vx_comp"], rows["vy_comp"] = targets.velocities.T
    rows["rcs"] = targets.cross_sections
    rows["id"] = np.arange(len(rows))
    rows["dyn_prop"] = np.hypot(*targets.velocities.T) < _STATIONARY_M_S
    for field, value in _CONSTANT_FIELDS.items():
        rows[field] = value
    return rows


def _box(annotation: Annotation) -> Box:
    kind = KINDS[annotation.kind]
    x, y, yaw, length, width = (float(value) for value in annotation.box)
    return Box(
        annotation.instance,
        kind.category,
        annotation.attribute,
        np.array([x, y, kind.height / 2]),
        np.array([width, length, kind.height]),
        yaw,
        annotation.lidar_points,
        annotation.radar_points,
        1 + sum(annotation.visible >= step for step in _VISIBILITY_STEPS),
    )


def can_rows(scene: RecordedScene, start_us: int) -> dict[str, list[dict[str, Any]]]:
    """Return the messages of a scene's CAN bus, at nuScenes' rates.

    Args:
        scene: what was recorded.
        start_us: when it began [us].
    """
    times = start_us + np.rint(scene.states[:, 0] * 1e6).astype(np.int64)
    last_us = start_us + round(scene.frames[-1].time_s * 1e6)
    kept = times <= last_us
    states, times = scene.states[kept], times[kept]
    turns = yaw_quaternions(states[:, 3])
    rows: dict[str, list[dict[str, Any]]] = {"pose": [], "ms_imu": [], "steeranglefeedback": []}
    for index, (time_us, state) in enumerate(zip(times, states, strict=True)):
        _, x, y, _, speed, steering, acceleration, yaw_rate = state
        stamp = {"utime": int(time_us)}
        rows["steeranglefeedback"].append(stamp | {"value": steering * STEERING_RATIO})
        if index % 2 == 0:
            motion = {"accel": [acceleration, speed * yaw_rate, _GRAVITY_M_S2], "rotation_rate": [0.0, 0.0, yaw_rate]}
            place = {"orientation": turns[index], "pos": [x, y, 0.0], "vel": [speed, 0.0, 0.0]}
            rows["pose"].append(stamp | motion | place)
        if len(scene.imu):
            felt = scene.imu[index]
            measured = {"linear_accel": felt[:3], "orientation": turns[index], "rotation_rate": felt[3:]}
            rows["ms_imu"].append(stamp | measured)
    slow = slice(None, None, 50)
    slow_rows = list(zip(times[slow], states[slow], strict=True))
    rows["vehicle_monitor"] = [_vehicle_monitor(int(time_us), state) for time_us, state in slow_rows]
    rows["zoesensors"] = [_zoe_sensors(int(time_us), state) for time_us, state in slow_rows]
    return rows


def _vehicle_monitor(time_us: int, state: NDArray[np.float64]) -> dict[str, Any]:
    _, _, _, _, speed, steering, acceleration, yaw_rate = (float(value) for value in state)
    return {
        "utime": time_us,
        "available_distance": 100,
        "battery_level": 80,
        "brake": int(max(0.0, -acceleration) * 10),
        "brake_switch": 3 if acceleration < -0.1 else 1,
        "gear_position": 7,
        "left_signal": 0,
        "rear_left_rpm": 0.0,
        "rear_right_rpm": 0.0,
        "right_signal": 0,
        "steering": math.degrees(steering * STEERING_RATIO),
        "steering_speed": 0.0,
        "throttle": int(max(0.0, acceleration) * 100),
        "vehicle_speed": speed * 3.6,
        "yaw_rate": math.degrees(yaw_rate),
    }


def _zoe_sensors(time_us: int, state: NDArray[np.float64]) -> dict[str, Any]:
    steering, acceleration = float(state[5]), float(state[6])
    return {
        "utime": time_us,
        "brake_sensor": max(0.0, -acceleration) / 8.0,
        "steering_sensor": math.degrees(steering * STEERING_RATIO),
        "throttle_sensor": max(0.0, acceleration) / 4.0,
    }
