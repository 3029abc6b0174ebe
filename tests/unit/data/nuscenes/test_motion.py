"""How the car moves: poses, actions and its own measurements."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import SPEED, TURN_RATE, write, write_clocks

from tempovla.data.nuscenes.layout import WHEEL_BASE_M
from tempovla.data.nuscenes.motion import steering_angle
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.timeline.keys import ACTION_KEY, POSE_KEY, STATE_KEY

FORWARD, LEFT = SPEED / TURN_RATE * np.sin(0.5 * TURN_RATE), SPEED / TURN_RATE * (1 - np.cos(0.5 * TURN_RATE))
"""Of half a second on the circle that the car drives [m]."""


@pytest.fixture
def without_can(jittered_folder: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(jittered_folder, tmp_path / "data"))
    shutil.rmtree(folder / "can_bus")
    return folder


def test_an_action_is_the_motion_until_the_next_key_frame(jittered: NuScenesSource):
    value, valid = jittered.read(0, ACTION_KEY, range(5))
    assert valid.tolist() == [True] * 4 + [False]
    np.testing.assert_allclose(value[:4], [[FORWARD, LEFT, 0.5 * TURN_RATE]] * 4, atol=0.01)  # the road tilts a little


def test_actions_one_after_the_other_lead_from_pose_to_pose(jittered: NuScenesSource):
    actions, poses = (jittered.read(0, key, range(5)).value.astype(np.float64) for key in (ACTION_KEY, POSE_KEY))
    x, y, yaw = 0.0, 0.0, 0.0
    for action, pose in zip(actions, poses, strict=True):
        np.testing.assert_allclose([x, y, yaw], pose, atol=0.01)
        x += np.cos(yaw) * action[0] - np.sin(yaw) * action[1]
        y += np.sin(yaw) * action[0] + np.cos(yaw) * action[1]
        yaw += action[2]


def test_a_scene_of_one_key_frame_has_a_pose_and_no_action(jittered: NuScenesSource):
    assert jittered.episode(1).length == 1
    np.testing.assert_allclose(jittered.read(1, POSE_KEY, [0]).value, 0.0, atol=1e-9)
    assert not jittered.read(1, ACTION_KEY, [0]).valid.any()
    assert jittered.boxes(1, 0).category == ("vehicle.car",)


def test_without_can_messages_the_state_follows_from_past_poses(without_can: Path):
    value, valid = open_nuscenes(without_can).read(0, STATE_KEY, range(5))
    assert valid.tolist() == [False, True, True, True, True]
    expected = [SPEED, 0.0, TURN_RATE, np.arctan(WHEEL_BASE_M * TURN_RATE / SPEED)]
    np.testing.assert_allclose(value[1:], [expected] * 4, atol=0.05)


def test_a_state_from_poses_does_not_depend_on_later_ones(without_can: Path):
    states = open_nuscenes(without_can).read(0, STATE_KEY, range(5)).value
    path = without_can / "v1.0-mini" / "ego_pose.json"
    lines = path.read_text().splitlines()
    step_us = 1_700_000_001_000_000
    for number, line in enumerate(lines):
        if '"timestamp"' in line and int(line.split('"timestamp": ')[1].split(",")[0]) > step_us:
            lines[number] = line.replace('"translation": [1', '"translation": [9')
    path.write_text("\n".join(lines))
    changed = open_nuscenes(without_can).read(0, STATE_KEY, range(5)).value
    assert (changed[:3] == states[:3]).all()
    assert (changed[3:] != states[3:]).any()


def test_a_car_that_stands_has_straight_wheels():
    angles = steering_angle(np.array([0.1, 0.1, -0.1]), np.array([0.0, 5.0, 5.0]))
    np.testing.assert_allclose(angles, [0.0, np.arctan(WHEEL_BASE_M * 0.02), -np.arctan(WHEEL_BASE_M * 0.02)])


@pytest.mark.parametrize("rate_hz", [4.0, 10.0])
def test_at_another_rate_steps_are_equally_far_apart(jittered_folder: Path, rate_hz: float):
    source = open_nuscenes(jittered_folder, NuScenesOptions(rate_hz=rate_hz))
    assert (source.rate_hz, source.episode(0).length) == (rate_hz, round(2 * rate_hz) + 1)
    np.testing.assert_allclose(np.diff(source.timestamps(0, ACTION_KEY)), 1 / rate_hz, atol=1e-6)
    value, valid = source.read(0, ACTION_KEY, range(source.episode(0).length))
    assert valid.tolist() == [True] * round(2 * rate_hz) + [False]
    np.testing.assert_allclose(value[:-1, 2], TURN_RATE / rate_hz, atol=2e-3)
    assert len(source.boxes(0, 1)) == (1 if rate_hz > 2 else 2)  # the pedestrian comes with the second key frame


def test_an_action_over_a_gap_between_key_frames_is_not_valid(tmp_path: Path):
    steps_s = (0.0, 0.5, 1.5, 1.95)
    source = open_nuscenes(write_clocks(tmp_path / "data", {"LIDAR_TOP": list(steps_s)}, steps_s))
    assert source.read(0, ACTION_KEY, range(4)).valid.tolist() == [True, False, True, False]


def test_statistics_of_the_motion_are_those_of_its_valid_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jittered: NuScenesSource, jittered_folder: Path
):
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path))
    source = open_nuscenes(jittered_folder)
    values = source.read(0, ACTION_KEY, range(4)).value.astype(np.float64)
    np.testing.assert_allclose(source.statistics[ACTION_KEY]["mean"], values.mean(axis=0))
    np.testing.assert_allclose(source.statistics[ACTION_KEY]["std"], values.std(axis=0), atol=1e-12)
    assert source.statistics[ACTION_KEY]["count"].tolist() == [4]
    assert set(source.statistics) == {STATE_KEY, POSE_KEY, ACTION_KEY}
    (kept,) = tmp_path.glob("statistics/nuscenes-*.json")
    text = kept.read_text()
    assert open_nuscenes(jittered_folder).statistics[ACTION_KEY]["mean"].tolist() == (
        source.statistics[ACTION_KEY]["mean"].tolist()
    )
    kept.write_text(text.replace('"mean": [', '"mean": [1, '))  # of another shape: it is computed again
    np.testing.assert_allclose(open_nuscenes(jittered_folder).statistics[ACTION_KEY]["mean"], values.mean(axis=0))
    assert kept.read_text() == text


def test_statistics_follow_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "cache"))
    root = write(tmp_path / "data", (3,))
    first = open_nuscenes(root).statistics[STATE_KEY]["mean"]
    path = next(root.glob("can_bus/*_pose.json"))
    path.write_text(path.read_text().replace(f'"vel": [{SPEED}', '"vel": [4.0'))
    second = open_nuscenes(root).statistics[STATE_KEY]["mean"]
    assert (first[0], second[0]) == (SPEED, 4.0)
