"""nuscenes-devkit and py123d read what our writer wrote, and what our reader makes of it is what they do.

Needs ``TEMPOVLA_NUSCENES_PYTHON``, the interpreter of an environment with nuscenes-devkit 1.2.0, py123d 0.7.0 and what
they import; skips without it. Both are installed with ``pip install --no-deps``, as the devkit asks for numpy 1.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import Rates, write

from tempovla.data.nuscenes.layout import CAMERA_CHANNELS
from tempovla.data.nuscenes.poses import inverse, move_points, yaws
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.timeline.driving import LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, POSE_KEY, STATE_KEY

ALIKE = 1e-6
FLOAT32 = 4e-6
"""How far two roundings to float32 of coordinates up to 64 m lie apart at most."""


@pytest.fixture(scope="session")
def nuscenes_python() -> str:
    python = os.environ.get("TEMPOVLA_NUSCENES_PYTHON")
    if not python:
        pytest.skip("TEMPOVLA_NUSCENES_PYTHON is not set: no environment with nuscenes-devkit and py123d")
    return python


@pytest.fixture(scope="session")
def jittered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("nuscenes") / "jittered")


@pytest.fixture(scope="session")
def key_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("nuscenes") / "key_frames", (4, 1), Rates(2.0, 2.0, 2.0))


def read_by(python: str, script: str, root: Path, out: Path) -> dict[str, np.ndarray]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, str(Path(__file__).with_name(script)), str(root), str(out)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    with np.load(out) as read:
        return dict(read)


def present(source: NuScenesSource, episode: int, key: str, step: int) -> np.ndarray:
    value, valid = source.read(episode, key, [step])
    assert valid.all()
    return value[0][~np.isnan(value[0]).any(axis=1)]


def steps(source: NuScenesSource) -> list[tuple[int, int]]:
    return [(episode, step) for episode in range(len(source)) for step in range(source.episode(episode).length)]


@pytest.mark.parametrize("recording", ["jittered", "key_frames"])
def test_the_devkit_reads_the_same(
    recording: str, request: pytest.FixtureRequest, tmp_path: Path, nuscenes_python: str
) -> None:
    root = request.getfixturevalue(recording)
    theirs = read_by(nuscenes_python, "nuscenes_side.py", root, tmp_path / "read.npz")
    source = open_nuscenes(root)
    assert sum(name.endswith("/pose") for name in theirs) == len(steps(source))
    for episode, step in steps(source):
        name = f"{episode}/{step}/"
        pose = source.ego_poses(episode)[step]
        np.testing.assert_allclose(pose, theirs[name + "pose"], atol=ALIKE)
        lidar, radar = (present(source, episode, key, step) for key in (LIDAR_KEY, RADAR_KEY))
        np.testing.assert_allclose(lidar, theirs[name + "lidar"], atol=FLOAT32)
        np.testing.assert_allclose(radar, theirs[name + "radar"], atol=FLOAT32)
        boxes = source.boxes(episode, step)
        own = np.concatenate([boxes.center, boxes.size, boxes.yaw[:, None], boxes.velocity], axis=1)
        np.testing.assert_allclose(own, theirs[name + "boxes"], atol=ALIKE)
        state = source.read(episode, STATE_KEY, [step])
        assert state.valid.all()
        np.testing.assert_allclose(state.value[0, 0], theirs[name + "speed"], atol=ALIKE)
        moved = np.linalg.inv(theirs[f"{episode}/0/pose"]) @ theirs[name + "pose"]
        own = source.read(episode, POSE_KEY, [step]).value[0]
        np.testing.assert_allclose(own, [*moved[:2, 3], yaws(moved)], atol=ALIKE)
        if step + 1 < source.episode(episode).length:
            moved = np.linalg.inv(theirs[name + "pose"]) @ theirs[f"{episode}/{step + 1}/pose"]
            own = source.read(episode, ACTION_KEY, [step]).value[0]
            np.testing.assert_allclose(own, [*moved[:2, 3], yaws(moved)], atol=ALIKE)
    area = source.drivable(0)
    assert area is not None
    assert (area.contains(theirs["places"]) == theirs["drivable"]).all()


def test_the_devkit_projects_points_to_the_same_pixels(jittered: Path, tmp_path: Path, nuscenes_python: str) -> None:
    theirs = read_by(nuscenes_python, "nuscenes_side.py", jittered, tmp_path / "read.npz")
    source = open_nuscenes(jittered)
    for episode in range(len(source)):
        for channel, name in CAMERA_CHANNELS.items():
            camera = source.embodiment_of(episode).camera(IMAGE_KEY_PREFIX + name)
            assert camera is not None
            assert camera.pose is not None
            seen = move_points(inverse(np.array(camera.pose)), [[8.0, 0.7, 0.3]])[0]
            pixel = np.array(camera.intrinsics(camera.width, camera.height)) @ (seen / seen[2])
            np.testing.assert_allclose(pixel[:2], theirs[f"{episode}/{channel}"], atol=ALIKE)


def test_py123d_reads_the_same(key_frames: Path, jittered: Path, tmp_path: Path, nuscenes_python: str) -> None:
    for number, root in enumerate((key_frames, jittered)):
        theirs = read_by(nuscenes_python, "py123d_side.py", root, tmp_path / f"{number}.npz")
        source = open_nuscenes(root)
        assert sum(name.endswith("/pose") for name in theirs) == len(steps(source))
        for episode, step in steps(source):
            name = f"{episode}/{step}/"
            pose = source.ego_poses(episode)[step]
            np.testing.assert_allclose(pose, theirs[name + "pose"], atol=ALIKE)
            assert theirs[name + "cameras"] == len(CAMERA_CHANNELS)
            lidar = present(source, episode, LIDAR_KEY, step)
            np.testing.assert_allclose(lidar[:, :3], theirs[name + "lidar"], atol=FLOAT32)
            assert (lidar[:, 3] == theirs[name + "intensity"]).all()
            boxes = source.boxes(episode, step)
            centers = move_points(pose, boxes.center)
            speeds = np.nan_to_num(boxes.velocity)
            np.testing.assert_allclose(centers, theirs[name + "boxes"][:, :3], atol=ALIKE)
            np.testing.assert_allclose(boxes.size, theirs[name + "boxes"][:, 3:6], atol=ALIKE)
            turned = theirs[name + "boxes"][:, 7:] @ pose[:2, :2]  # their vectors are in the global frame
            np.testing.assert_allclose(speeds, turned, atol=ALIKE)
            if root == key_frames:  # they take a radar's key frame, which may lie in the future
                radar = present(source, episode, RADAR_KEY, step)
                np.testing.assert_allclose(radar, theirs[name + "radar"], atol=FLOAT32)
