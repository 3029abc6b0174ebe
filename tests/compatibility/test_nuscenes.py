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

from tempovla.data.nuscenes.layout import CAMERA_CHANNELS, LIDAR_CHANNEL, RADAR_CHANNELS
from tempovla.data.nuscenes.poses import inverse, move_points, yaws
from tempovla.data.nuscenes.scenes import SceneTable
from tempovla.data.nuscenes.sensors import SensorReader
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.data.nuscenes.tables import find_version, read_tables
from tempovla.timeline.driving import LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, POSE_KEY, STATE_KEY

ALIKE = 1e-6
EXACT = 1e-9
"""Of points before they are rounded to float32 [m]."""
FLOAT32 = 2.0**-18
"""Distance of two neighbouring numbers of float32 from 32 to 64 m: py123d rounds points, too [m]."""


def assert_alike(own: np.ndarray, exact: np.ndarray, theirs: np.ndarray) -> None:
    """Assert that points are what another tool computes in float64, and that they are rounded to float32 once.

    Args:
        own: as they are read, float32.
        exact: the same ones before they are rounded.
        theirs: float64.
    """
    np.testing.assert_allclose(exact, theirs, rtol=0, atol=EXACT)
    assert (own == exact.astype(np.float32)).all()
    assert (np.abs(own - theirs) <= np.spacing(np.abs(own)) / 2 + EXACT).all()


class Exact:
    """The readings of a folder as its source reads them, before they are rounded to float32."""

    def __init__(self, root: Path, source: NuScenesSource) -> None:
        self.source, self.table = source, SceneTable(read_tables(root, find_version(root, None)))
        self.reader = SensorReader(self.table, "error", source.rate_hz)

    def lidar(self, episode: int, step: int) -> np.ndarray:
        scene, pose = self.table.scene(episode), self.source.ego_poses(episode)[step]
        channel = scene.channels[LIDAR_CHANNEL]
        (reading,), _ = self.reader.newest(scene, channel, scene.times_us[[step]])
        points = self.reader.lidar(int(reading), channel, pose, self.source.streams[LIDAR_KEY].shape[0])
        assert points is not None
        return points[~np.isnan(points).any(axis=1)]

    def radar(self, episode: int, step: int) -> np.ndarray:
        scene, pose = self.table.scene(episode), self.source.ego_poses(episode)[step]
        channels = [scene.channels[name] for name in RADAR_CHANNELS]
        readings = [self.reader.newest(scene, each, scene.times_us[[step]])[0][0] for each in channels]
        points = self.reader.radar(readings, channels, pose, self.source.streams[RADAR_KEY].shape[0])
        assert points is not None
        return points[~np.isnan(points).any(axis=1)]


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
    exact = Exact(root, source)
    assert sum(name.endswith("/pose") for name in theirs) == len(steps(source))
    for episode, step in steps(source):
        name = f"{episode}/{step}/"
        pose = source.ego_poses(episode)[step]
        np.testing.assert_allclose(pose, theirs[name + "pose"], atol=ALIKE)
        lidar, radar = (present(source, episode, key, step) for key in (LIDAR_KEY, RADAR_KEY))
        assert_alike(lidar, exact.lidar(episode, step), theirs[name + "lidar"])
        assert_alike(radar, exact.radar(episode, step), theirs[name + "radar"])
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
            np.testing.assert_allclose(lidar[:, :3], theirs[name + "lidar"], rtol=0, atol=FLOAT32)
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
                np.testing.assert_allclose(radar, theirs[name + "radar"], rtol=0, atol=FLOAT32)
