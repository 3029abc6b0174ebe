"""Batches of driving scenes with and without LiDAR: samples a second of `SampleLoader` beside nuscenes-devkit.

    python benchmarks/nuscenes_loader.py [--root FOLDER] [--json FILE] [--samples 48] [--runs 3]

Without --root it writes two scenes of 40 key frames: six pictures of 112 x 200, clouds of 32 x 360 points, five radars
of 60 targets and an inertial unit of 100 Hz. CPU seconds on one thread, the best of a few runs taken in turns, in the
process itself. The devkit reads the same key frames and moves points in the same way, in its own environment, which
TEMPOVLA_NUSCENES_PYTHON names. It makes no batches, pads no clouds, and reads neither state nor actions.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from selective_scan import cpu_model
from tempovla.data.loader import LoaderConfig, SampleLoader
from tempovla.data.mixture import Mixture
from tempovla.data.nuscenes.layout import (
    CAMERA_CHANNELS,
    LIDAR_CHANNEL,
    RADAR_CHANNELS,
    RADAR_DTYPE,
    EgoPose,
    SensorCalibration,
    scene_names,
)
from tempovla.data.nuscenes.poses import yaw_quaternions
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.data.nuscenes.writer import NuScenesWriter
from tempovla.timeline.driving import CAMERA_KEYS, IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.window import Window

MOTION = (Window(STATE_KEY, (0,)), Window(ACTION_KEY, tuple(range(6))))
CAMERAS, LIDAR, RADARS, IMU = (
    tuple(Window(key, (0,)) for key in keys) for keys in (CAMERA_KEYS, (LIDAR_KEY,), (RADAR_KEY,), (IMU_KEY,))
)
SENSORS = {
    "cameras": CAMERAS,
    "LiDAR": LIDAR,
    "radars": RADARS,
    "radars + IMU": RADARS + IMU,
    "all": CAMERAS + LIDAR + RADARS + IMU,
}
BY_DEVKIT = {"cameras": "camera", "LiDAR": "lidar", "radars": "radar"}
BATCH_SIZE = 8
HEIGHT, WIDTH, POINTS, TARGETS, KEY_FRAMES = 112, 200, 32 * 360, 60, 40
START_US, STEP_US, IMU_US = 1_700_000_000_000_000, 500_000, 10_000


def write_scenes(root: Path) -> None:
    """Write two scenes of a car that drives straight ahead among noise."""
    random = np.random.default_rng(0)
    upright = yaw_quaternions(0.0)
    matrix = np.array([[158.0, 0.0, 100.0], [0.0, 158.0, 56.0], [0.0, 0.0, 1.0]])
    mounts = {channel: SensorCalibration("camera", np.zeros(3), upright, matrix) for channel in CAMERA_CHANNELS}
    mounts[LIDAR_CHANNEL] = SensorCalibration("lidar", np.array([0.9, 0.0, 1.8]), yaw_quaternions(-1.57))
    mounts |= {channel: SensorCalibration("radar", np.zeros(3), upright) for channel in RADAR_CHANNELS}
    smooth = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] % 256
    with NuScenesWriter(root, map_mask=np.full((2000, 2000), 255, np.uint8)) as writer:
        for name in scene_names(2):
            scene = writer.start_scene(name, "", mounts)
            for step in range(KEY_FRAMES):
                time_us = START_US + STEP_US * step
                ego = EgoPose(time_us, np.array([50.0 + 2.0 * step, 100.0, 0.0]), upright)
                for channel in CAMERA_CHANNELS:
                    noise = random.integers(0, 40, (HEIGHT, WIDTH, 3))
                    scene.add_camera(channel, time_us, ((smooth + noise) % 256).astype(np.uint8), ego, key_frame=True)
                scene.add_lidar(LIDAR_CHANNEL, time_us, random.uniform(-40, 40, (POINTS, 5)), ego, key_frame=True)
                for channel in RADAR_CHANNELS:
                    targets = np.zeros(TARGETS, RADAR_DTYPE)
                    targets["x"] = random.uniform(0, 50, TARGETS)
                    scene.add_radar(channel, time_us, targets, ego, key_frame=True)
                scene.add_key_frame(time_us, [])
            times = range(START_US, START_US + STEP_US * (KEY_FRAMES - 1) + 1, IMU_US)
            vector = [4.0, 0.0, 0.0]
            row = {"vel": vector, "accel": vector, "rotation_rate": vector, "linear_accel": vector, "value": 0.0}
            for message in ("ms_imu", "pose", "steeranglefeedback"):
                scene.add_can(message, [{"utime": time_us, **row} for time_us in times])
            scene.finish()


def seconds_a_sample(source: NuScenesSource, windows: tuple[Window, ...], samples: int) -> float:
    """CPU seconds of one sample in batches of `BATCH_SIZE`."""
    config = LoaderConfig(batch_size=BATCH_SIZE, preload_bytes=0)
    batches = iter(SampleLoader(Mixture([source]), windows, config, seed=0))
    start = time.process_time()
    for _ in range(samples // BATCH_SIZE):
        next(batches)
    return (time.process_time() - start) / samples


def devkit_seconds(python: str, root: Path, modality: str, samples: int) -> float:
    """CPU seconds in which the devkit reads one sample."""
    script = Path(__file__).with_name("devkit_loader.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, str(script), str(root), modality, str(samples)]
    return float(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)


def measure(root: Path, samples: int, runs: int) -> dict[str, dict[str, float]]:
    """Samples a second by sensors and reader."""
    python = os.environ.get("TEMPOVLA_NUSCENES_PYTHON")
    source = open_nuscenes(root)
    best: dict[str, dict[str, float]] = {name: {} for name in SENSORS}
    for _ in range(runs):
        for name, windows in SENSORS.items():
            found = {"SampleLoader": seconds_a_sample(source, windows + MOTION, samples)}
            if python and name in BY_DEVKIT:
                found["nuscenes-devkit"] = devkit_seconds(python, root, BY_DEVKIT[name], samples)
            for reader, seconds in found.items():
                best[name][reader] = max(best[name].get(reader, 0.0), 1 / seconds)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder) / "scenes"
        if args.root is None:
            write_scenes(root)
        found = measure(root, args.samples, args.runs)
    machine = {"cpu": cpu_model(), "python": platform.python_version(), "torch": torch.__version__}
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"\n{'samples a second':24s}{'SampleLoader':>14s}{'devkit':>10s}{'ratio':>8s}")
    for name, readers in found.items():
        own, other = readers["SampleLoader"], readers.get("nuscenes-devkit")
        beside = f"{other:10.1f}{own / other:7.1f}x" if other else f"{'-':>10s}"
        print(f"{name:24s}{own:14.1f}{beside}")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "samples_a_second": found}, indent=2))


if __name__ == "__main__":
    main()
