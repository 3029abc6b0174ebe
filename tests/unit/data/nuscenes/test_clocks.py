"""The law of streams at different rates: the value at a step is the newest one that is not later, if it is fresh.

Every stream of nuScenes is under it, with clocks that jitter, readings that are lost, and the case in which the nearest
reading lies in the future.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import write_clocks

from tempovla.data.nuscenes.layout import LIDAR_CHANNEL, STEERING_RATIO
from tempovla.data.nuscenes.motion import CAN_TOLERANCE_S
from tempovla.data.nuscenes.sensors import TOLERATED_PERIODS
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.timeline.driving import CAMERA_KEYS, IMU_KEY, LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import STATE_KEY

STEPS_S = (0.0, 0.5, 1.0, 1.5, 2.0)
JITTER_S = 1e-3
RADAR = "RADAR_FRONT"
CHANNELS = {CAMERA_KEYS[0]: ("CAM_FRONT", 12.0), LIDAR_KEY: (LIDAR_CHANNEL, 20.0), RADAR_KEY: (RADAR, 13.0)}


def numbers(source: NuScenesSource, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Which reading counts at each step, and whether it is valid."""
    value, valid = source.read(0, key, range(len(STEPS_S)))
    if key == CAMERA_KEYS[0]:
        return np.rint(value[:, 0, 0, 0] / 8).astype(int), valid
    return value[:, 0, {LIDAR_KEY: 3, RADAR_KEY: 4}[key]], valid


def jittering(rate_hz: float, seed: int, lost: tuple[float, float] = (9.0, 9.0)) -> list[float]:
    """Times of a clock of that rate, without those between two times."""
    random = np.random.default_rng(seed)
    times = (np.arange(-3, 2.0 * rate_hz + 2) + random.uniform(-0.4, 0.4, int(2.0 * rate_hz + 5))) / rate_hz
    return [float(time) for time in times if not lost[0] < time < lost[1]]


def newest(times: list[float], asked: float) -> int:
    """The number of the newest time that is not later, by looking at all of them."""
    return max(number for number, time in enumerate(times) if time <= asked + JITTER_S)


@pytest.mark.parametrize("key", CHANNELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_newest_reading_that_is_not_later_counts(key: str, seed: int, tmp_path: Path):
    channel, rate_hz = CHANNELS[key]
    times = jittering(rate_hz, seed)
    found, valid = numbers(open_nuscenes(write_clocks(tmp_path / "data", {channel: times}, STEPS_S)), key)
    assert valid.all()
    assert found.tolist() == [newest(times, step) for step in STEPS_S]
    assert all(times[number] <= step + JITTER_S for number, step in zip(found.astype(int), STEPS_S, strict=True))


@pytest.mark.parametrize("key", CHANNELS)
def test_where_readings_were_lost_nothing_is_valid(key: str, tmp_path: Path):
    channel, rate_hz = CHANNELS[key]
    times = jittering(rate_hz, 0, lost=(0.7, 1.55))
    found, valid = numbers(open_nuscenes(write_clocks(tmp_path / "data", {channel: times}, STEPS_S)), key)
    period_s = float(np.median(np.diff(times)))
    fresh = [step - times[newest(times, step)] <= TOLERATED_PERIODS * period_s for step in STEPS_S]
    assert fresh == [True, True, False, False, True]
    assert valid.tolist() == fresh
    expected = [newest(times, step) for step in STEPS_S]
    assert (found[valid] == np.array(expected)[valid]).all()


@pytest.mark.parametrize("key", CHANNELS)
def test_a_reading_in_the_future_does_not_count_though_it_is_the_nearest(key: str, tmp_path: Path):
    channel, rate_hz = CHANNELS[key]
    ahead = 0.016  # as nuScenes' radars are, whose key frames follow those of the LiDAR
    times = [ahead + number / rate_hz for number in range(-3, int(2.2 * rate_hz))]
    found, valid = numbers(open_nuscenes(write_clocks(tmp_path / "data", {channel: times}, STEPS_S)), key)
    nearest = [int(np.abs(np.array(times) - step).argmin()) for step in STEPS_S]
    assert times[nearest[0]] == ahead
    assert found[0] == nearest[0] - 1
    assert valid.all()
    assert found.tolist() == [newest(times, step) for step in STEPS_S]


def test_a_sensor_that_begins_late_has_no_value_before(tmp_path: Path):
    times = [0.7 + number / 20 for number in range(30)]
    found, valid = numbers(open_nuscenes(write_clocks(tmp_path / "data", {LIDAR_CHANNEL: times}, STEPS_S)), LIDAR_KEY)
    assert valid.tolist() == [False, False, True, True, True]
    assert np.isnan(found[:2]).all()


def test_key_frames_alone_are_read_at_their_own_steps(tmp_path: Path):
    source = open_nuscenes(write_clocks(tmp_path / "data", {LIDAR_CHANNEL: list(STEPS_S)}, STEPS_S))
    found, valid = numbers(source, LIDAR_KEY)
    assert source.streams[LIDAR_KEY].rate_hz == 2.0
    assert valid.all()
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_each_radar_has_its_own_clock(tmp_path: Path):
    clocks = {RADAR: jittering(13.0, 1), "RADAR_BACK_LEFT": jittering(13.0, 2, lost=(0.7, 1.2))}
    source = open_nuscenes(write_clocks(tmp_path / "data", clocks, STEPS_S))
    value, valid = source.read(0, RADAR_KEY, range(len(STEPS_S)))
    assert valid.all()
    for step, targets in zip(STEPS_S, value, strict=True):
        present = targets[~np.isnan(targets).any(axis=1)][:, 4]
        expected = [newest(clocks[RADAR], step)]
        if step != 1.0:
            expected.append(newest(clocks["RADAR_BACK_LEFT"], step))
        assert present.tolist() == expected
    assert source.timestamps(0, RADAR_KEY).tolist() == pytest.approx(
        sorted(itertools.chain(*clocks.values())), abs=1e-6
    )


def test_the_state_is_that_of_the_newest_messages(tmp_path: Path):
    clocks = {"pose": jittering(50.0, 3, lost=(0.7, 1.2)), "steeranglefeedback": jittering(100.0, 4, lost=(1.3, 1.9))}
    folder = write_clocks(tmp_path / "data", {LIDAR_CHANNEL: list(STEPS_S)}, STEPS_S, clocks)
    value, valid = open_nuscenes(folder).read(0, STATE_KEY, range(len(STEPS_S)))
    ages = [[step - times[newest(times, step)] for times in clocks.values()] for step in STEPS_S]
    assert valid.tolist() == [max(age) <= CAN_TOLERANCE_S for age in ages] == [True, True, False, False, True]
    for step, state in zip(np.array(STEPS_S)[valid], value[valid], strict=True):
        speed, wheel = (newest(times, step) for times in clocks.values())
        np.testing.assert_allclose(state, [speed, speed, 0.0, wheel / STEERING_RATIO], atol=1e-5)


def test_the_inertial_unit_gives_what_it_measured_since_the_step_before(tmp_path: Path):
    times = jittering(100.0, 5, lost=(0.52, 1.0001))
    folder = write_clocks(tmp_path / "data", {LIDAR_CHANNEL: list(STEPS_S)}, STEPS_S, {"ms_imu": times})
    source = open_nuscenes(folder)
    value, valid = source.read(0, IMU_KEY, range(len(STEPS_S)))
    for step, window in zip(STEPS_S, value, strict=True):
        present = window[~np.isnan(window).any(axis=1)]
        inside = [number for number, time in enumerate(times) if step - 0.5 < round(time, 6) <= step]
        assert present[:, 1].tolist() == inside[-source.streams[IMU_KEY].shape[0] :]
        np.testing.assert_allclose(present[:, 0], [times[number] - step for number in inside], atol=1e-6)
        assert (present[:, 0] <= 0).all()
    assert valid.tolist() == [True, True, True, True, True]
    assert len(value[2][~np.isnan(value[2]).any(axis=1)]) < 5


def test_an_inertial_unit_without_a_measurement_since_the_step_before_is_not_valid(tmp_path: Path):
    times = jittering(100.0, 6, lost=(0.45, 1.2))
    folder = write_clocks(tmp_path / "data", {LIDAR_CHANNEL: list(STEPS_S)}, STEPS_S, {"ms_imu": times})
    value, valid = open_nuscenes(folder).read(0, IMU_KEY, range(len(STEPS_S)))
    assert valid.tolist() == [True, True, False, True, True]
    assert np.isnan(value[2]).all()
