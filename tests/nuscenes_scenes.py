"""Small scenes in nuScenes' format: pictures of 8 x 16 pixels, and sensors whose clocks jitter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tempovla.data.nuscenes.layout import (
    CAMERA_CHANNELS,
    LIDAR_CHANNEL,
    RADAR_CHANNELS,
    RADAR_DTYPE,
    STEERING_RATIO,
    Box,
    EgoPose,
    SensorCalibration,
)
from tempovla.data.nuscenes.poses import quaternions, rotation_matrices, yaw_quaternions
from tempovla.data.nuscenes.scene_writer import SceneWriter
from tempovla.data.nuscenes.writer import NuScenesWriter

HEIGHT, WIDTH = 8, 16
START_US = 1_700_000_000_000_000
SPEED, TURN_RATE = 6.0, 0.2
"""Of the car [m/s] and [rad/s], in all scenes."""
NAMES = ("scene-0061", "scene-0553")
"""Scenes of the training part of nuScenes' mini version."""
_CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Columns are the axes of a camera that looks ahead: to the right, down and forward."""
_CAMERA_YAWS = (0, -55, -110, 180, 110, 55)
_RADAR_YAWS = (0, 90, -90, 175, -175)


@dataclass(frozen=True)
class Rates:
    """Of the sensors [Hz]; at 2 Hz there are key frames alone."""

    camera: float = 12.0
    lidar: float = 20.0
    radar: float = 13.0
    imu: float = 100.0


def ego_at(time_s: float, seed: int) -> EgoPose:
    """Where the car is: it drives a circle at a constant speed, on a slope that differs by scene."""
    yaw = 0.3 * seed + TURN_RATE * time_s
    radius = SPEED / TURN_RATE
    x = 100 + radius * (math.sin(yaw) - math.sin(0.3 * seed))
    y = 120 - radius * (math.cos(yaw) - math.cos(0.3 * seed))
    tilt = np.array([[1, 0, 0], [0, math.cos(0.02), -math.sin(0.02)], [0, math.sin(0.02), math.cos(0.02)]])
    rotation = quaternions(rotation_matrices(yaw_quaternions(yaw)) @ tilt)
    return EgoPose(START_US + round(time_s * 1e6), np.array([x, y, 0.1 * time_s]), rotation)


def calibrations(seed: int = 0) -> dict[str, SensorCalibration]:
    """Of the twelve sensors of nuScenes; they differ by scene."""
    focal = 10.0 + seed
    matrix = np.array([[focal, 0.0, WIDTH / 2], [0.0, focal, HEIGHT / 2], [0.0, 0.0, 1.0]])
    found: dict[str, SensorCalibration] = {}
    for channel, yaw in zip(CAMERA_CHANNELS, _CAMERA_YAWS, strict=True):
        turn = rotation_matrices(yaw_quaternions(math.radians(yaw + seed)))
        found[channel] = SensorCalibration(
            "camera", np.array([1.5, 0.1, 1.5]), quaternions(turn @ _CAMERA_AXES), matrix
        )
    found[LIDAR_CHANNEL] = SensorCalibration("lidar", np.array([0.94, 0.0, 1.84]), yaw_quaternions(math.radians(-90)))
    for channel, yaw in zip(RADAR_CHANNELS, _RADAR_YAWS, strict=True):
        found[channel] = SensorCalibration("radar", np.array([2.4, 0.5, 0.7]), yaw_quaternions(math.radians(yaw)))
    return found


def sweep_times(rate_hz: float, until_s: float, random: np.random.Generator) -> list[tuple[float, bool]]:
    """Times of a sensor's readings with their jitter [s], and which belong to key frames: the nearest to each."""
    if rate_hz <= 2.0:
        return [(0.5 * step, True) for step in range(round(2 * until_s) + 1)]
    times = np.arange(-2, round(until_s * rate_hz) + 1) / rate_hz
    times = times + random.uniform(-0.2, 0.2, len(times)) / rate_hz
    key = {int(np.abs(times - 0.5 * step).argmin()) for step in range(round(2 * until_s) + 1)}
    return [(float(time), index in key) for index, time in enumerate(times)]


def lidar_points(time_us: int, count: int = 40) -> np.ndarray:
    """(N, 5) points that differ by time."""
    random = np.random.default_rng(time_us)
    points = random.uniform(-20, 20, (count, 5)).astype(np.float32)
    points[:, 3] = random.integers(0, 256, count)
    points[:, 4] = random.integers(0, 32, count)
    return points


def radar_targets(time_us: int, channel: int, count: int = 3) -> np.ndarray:
    """(N,) targets that differ by time and radar."""
    random = np.random.default_rng((time_us, channel))
    targets = np.zeros(count, RADAR_DTYPE)
    for name in ("x", "y", "rcs", "vx", "vy", "vx_comp", "vy_comp"):
        targets[name] = random.uniform(1, 9, count)
    targets["id"], targets["ambig_state"] = np.arange(count), 3
    return targets


def picture(time_us: int, channel: int) -> np.ndarray:
    """(8, 16, 3) of one colour, which differs by time and camera."""
    return np.full((HEIGHT, WIDTH, 3), (time_us // 1000 % 200, 40 * channel, 128), np.uint8)


def distances(time_us: int, channel: int) -> np.ndarray:
    """(8, 16, 1) distances that differ by place, time and camera [m]; the first row has no reading."""
    metres = np.full((HEIGHT, WIDTH, 1), 2.5 + channel + time_us // 1000 % 200, np.float32)
    metres += np.arange(HEIGHT, dtype=np.float32)[:, None, None]
    metres[0] = 0
    return metres


def boxes_at(time_s: float) -> list[Box]:
    """A car that drives east, and a pedestrian who appears after half a second."""
    car = Box(
        "car",
        "vehicle.car",
        "vehicle.moving",
        np.array([110 + 3 * time_s, 125.0, 0.8]),
        np.array([1.9, 4.5, 1.6]),
        0.0,
        12,
        2,
    )
    walker = Box(
        "walker",
        "human.pedestrian.adult",
        "pedestrian.moving",
        np.array([104.0, 118 + time_s, 0.9]),
        np.array([0.6, 0.7, 1.8]),
        math.pi / 2,
        3,
        0,
        2,
    )
    return [car, walker] if time_s >= 0.5 else [car]


def add_can(scene: SceneWriter, seed: int, until_s: float, rate_hz: float = 100.0) -> None:
    """What a car tells on its bus while it drives the circle; the route is that circle, too."""
    times = [START_US + round(k / rate_hz * 1e6) for k in range(-30, round(until_s * rate_hz) + 1)]
    accel = [0.0, SPEED * TURN_RATE, 9.81]
    turn = [0.0, 0.0, TURN_RATE]
    scene.add_can(
        "ms_imu",
        [{"utime": t, "linear_accel": accel, "rotation_rate": turn, "orientation": [1, 0, 0, 0]} for t in times],
    )
    scene.add_can(
        "pose",
        [
            {
                "utime": t,
                "vel": [SPEED, 0.0, 0.0],
                "accel": accel,
                "rotation_rate": turn,
                "pos": ego_at((t - START_US) * 1e-6, seed).translation.tolist(),
                "orientation": ego_at((t - START_US) * 1e-6, seed).rotation.tolist(),
            }
            for t in times[::2]
        ],
    )
    scene.add_can("steeranglefeedback", [{"utime": t, "value": 0.1 * STEERING_RATIO} for t in times])
    scene.add_can("vehicle_monitor", [{"utime": t, "vehicle_speed": 3.6 * SPEED} for t in times[::50]])
    scene.add_can("route", [ego_at(0.2 * k, seed).translation[:2].tolist() for k in range(60)])


def write_scene(
    writer: NuScenesWriter,
    name: str,
    seed: int,
    key_frames: int,
    rates: Rates = Rates(),
    *,
    can: bool = True,
    commands: Sequence[str] = (),
    perturbed: Sequence[bool] = (),
    depth: bool = False,
) -> None:
    """Write one scene of so many key frames."""
    until_s = 0.5 * (key_frames - 1)
    scene = writer.start_scene(name, f"Scene {seed}", calibrations(seed))
    random = np.random.default_rng(seed)
    for index, channel in enumerate(CAMERA_CHANNELS):
        for time_s, key in sweep_times(rates.camera, until_s, random):
            ego = ego_at(time_s, seed)
            metres = distances(ego.time_us, index) if depth else None
            scene.add_camera(channel, ego.time_us, picture(ego.time_us, index), ego, key, metres)
    for time_s, key in sweep_times(rates.lidar, until_s, np.random.default_rng(seed)):
        time_s = round(2 * time_s) / 2 if key else time_s  # a key frame is the LiDAR's
        ego = ego_at(time_s, seed)
        scene.add_lidar(LIDAR_CHANNEL, ego.time_us, lidar_points(ego.time_us), ego, key)
    for index, channel in enumerate(RADAR_CHANNELS):
        for time_s, key in sweep_times(rates.radar, until_s, random):
            ego = ego_at(time_s, seed)
            scene.add_radar(channel, ego.time_us, radar_targets(ego.time_us, index), ego, key)
    for step in range(key_frames):
        scene.add_key_frame(START_US + 500_000 * step, boxes_at(0.5 * step))
    if can:
        add_can(scene, seed, until_s, rates.imu)
    if commands:
        scene.add_sidecar("commands", list(commands))
    if perturbed:
        scene.add_sidecar("perturbed", list(perturbed))
    scene.finish()


def map_mask() -> np.ndarray:
    """(2000, 2500): one can drive where y is from 80 to 160 m."""
    mask = np.zeros((2000, 2500), np.uint8)
    mask[400:1200] = 255
    return mask


def write(root: Path, key_frames: Sequence[int] = (7, 5), rates: Rates = Rates(), **options) -> Path:
    """Write a dataset of a scene for each number of key frames; returns its folder."""
    with NuScenesWriter(root, map_mask=map_mask()) as writer:
        for seed, (name, count) in enumerate(zip(NAMES, key_frames, strict=False)):
            write_scene(writer, name, seed, count, rates, **options)
    return root


def write_clocks(
    root: Path, clocks: Mapping[str, Sequence[float]], steps_s: Sequence[float], can: Mapping[str, Sequence[float]] = {}
) -> Path:
    """Write a scene of a car that stands still, in which every reading tells its number.

    It is the red of a picture (times 8), the intensity of LiDAR points, the cross-section of radar targets, the speed
    in `pose`, the steering wheel's angle in `steeranglefeedback` and the acceleration along x in `ms_imu`.

    Args:
        root: the folder.
        clocks: times of readings by channel [s].
        steps_s: times of key frames [s].
        can: times of messages by name [s].
    """
    known = calibrations()
    ego = ego_at(0.0, 0)
    with NuScenesWriter(root, map_mask=map_mask()) as writer:
        scene = writer.start_scene(NAMES[0], "", {channel: known[channel] for channel in clocks})
        for channel, times in clocks.items():
            for number, time_s in enumerate(times):
                time_us = START_US + round(time_s * 1e6)
                here = replace(ego, time_us=time_us)
                if channel in CAMERA_CHANNELS:
                    rgb = np.full((HEIGHT, WIDTH, 3), (8 * number, 0, 0), np.uint8)
                    scene.add_camera(channel, time_us, rgb, here, key_frame=False)
                elif channel == LIDAR_CHANNEL:
                    points = np.array([[1.0, 2.0, 3.0, number, 0.0]], np.float32)
                    scene.add_lidar(channel, time_us, points, here, key_frame=False)
                else:
                    targets = np.zeros(1, RADAR_DTYPE)
                    targets["rcs"] = number
                    scene.add_radar(channel, time_us, targets, here, key_frame=False)
        for time_s in steps_s:
            scene.add_key_frame(START_US + round(time_s * 1e6), [])
        for message, times in can.items():
            for number, time_s in enumerate(times):
                numbers = [float(number), 0.0, 0.0]
                row = {"vel": numbers, "accel": numbers, "rotation_rate": numbers, "linear_accel": numbers}
                scene.add_can(message, [{"utime": START_US + round(time_s * 1e6), "value": float(number), **row}])
        scene.finish()
    return root
