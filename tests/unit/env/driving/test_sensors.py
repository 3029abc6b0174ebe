"""The sensors agree with each other and with where things are."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tests.small_town import SMALL

from tempovla.env.driving.agents import CAR, FIELDS, ID, KIND, SPEED, YAW, X, Y
from tempovla.env.driving.car import CarState
from tempovla.timeline.driving import SURROUND_CAMERAS

pytestmark = [pytest.mark.sim, pytest.mark.usefixtures("sumo")]


@pytest.fixture(scope="module")
def senses() -> Iterator:
    from tempovla.env.driving.senses import CarSenses

    return CarSenses(replace(SMALL, image_height=90, image_width=160, lidar=True), "day")


def moment(x: float, y: float, yaw: float, agents: np.ndarray, speed: float = 0.0, steering: float = 0.0):
    from tempovla.env.driving.environment import Instant

    car = CarState(x, y, yaw, speed, steering)
    return Instant(car, agents, {}, [car], seed=1, tick=0)


def in_town(local: np.ndarray, pose: tuple[float, float, float]) -> np.ndarray:
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    return local @ np.array([[cosine, sine], [-sine, cosine]]) + pose[:2]


def parked_at(ahead: float, left: float, pose: tuple[float, float, float], speed: float = 0.0) -> np.ndarray:
    row = np.zeros((1, FIELDS))
    row[0, [X, Y]] = in_town(np.array([[ahead, left]]), pose)[0]
    row[0, [ID, KIND, YAW, SPEED]] = 7, CAR, pose[2], speed
    return row


@pytest.fixture(scope="module")
def pose(senses) -> tuple[float, float, float]:
    """On a street of the town, along it."""
    street = senses.stage.town.streets
    lane = max(street.values(), key=lambda one: one.length).lanes[0].shape
    middle = len(lane) // 2
    step = lane[middle + 1] - lane[middle] if middle + 1 < len(lane) else lane[middle] - lane[middle - 1]
    return (*lane[middle].tolist(), math.atan2(step[1], step[0]))


@pytest.mark.parametrize("camera", SURROUND_CAMERAS)
def test_a_car_is_seen_where_the_calibration_says(senses, pose, camera: str) -> None:
    from tempovla.env.driving.cameras import calibration_of

    calibration = calibration_of(camera, 160, 90)
    matrix = np.array(calibration.pose)
    forward = matrix[:3, 2]
    place = matrix[:3, 3] + 9.0 * forward
    agents = parked_at(place[0], place[1], pose)
    now = moment(*pose, agents)
    senses.show(now)
    stage = senses.stage
    geoms = stage.bodies_seen(camera)
    on_car = (geoms >= 0) & (stage.agent_of[stage.model.geom_bodyid[np.maximum(geoms, 0)]] == 0)
    on_car &= stage.groups[np.maximum(geoms, 0)] == 0  # its shadow is no part of it
    rows, columns = np.nonzero(on_car)
    assert len(rows) > 50

    corners = [[sx * 2.3, sy * 0.95, z] for sx in (-1, 1) for sy in (-1, 1) for z in (0.0, 1.55)]
    in_ego = np.array(corners) + np.array([place[0], place[1], 0.0])
    seen = np.linalg.inv(matrix) @ np.concatenate([in_ego, np.ones((8, 1))], axis=1).T
    intrinsics = np.array(calibration.intrinsics(160, 90))
    pixels = (intrinsics @ seen[:3])[:2] / seen[2]
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    assert columns.min() + 0.5 >= low[0] - 1.0
    assert columns.max() + 0.5 <= high[0] + 1.0
    assert rows.min() + 0.5 >= low[1] - 1.0
    # It fills its box: a picture that is flipped or shifted would not.
    inside = np.clip([low[0], high[0]], 0, 160)
    assert np.ptp(columns) > 0.7 * (inside[1] - inside[0])


def test_lidar_points_lie_on_the_distances_that_cameras_see(senses, pose) -> None:
    from tempovla.env.driving.cameras import calibration_of

    agents = np.concatenate([parked_at(12.0, 0.5, pose), parked_at(-9.0, -1.0, pose)])
    agents[1, ID] = 8
    now = moment(*pose, agents)
    points, _ = senses.lidar(now)
    checked = 0
    for camera in ("front", "back"):
        calibration = calibration_of(camera, 160, 90)
        depth = senses.depth(now, camera)[..., 0]
        local = np.linalg.inv(np.array(calibration.pose)) @ np.c_[points[:, :3], np.ones(len(points))].T
        ahead = local[2] > 2.0
        pixels = (np.array(calibration.intrinsics(160, 90)) @ local[:3, ahead])[:2] / local[2, ahead]
        columns, rows = np.floor(pixels).astype(int)
        shown = (columns >= 1) & (columns < 159) & (rows >= 1) & (rows < 89)
        columns, rows, far = columns[shown], rows[shown], local[2, ahead][shown]
        around = np.stack([depth[rows + r, columns + c] for r in (-1, 0, 1) for c in (-1, 0, 1)])
        # A pixel away there may be another surface: the nearest of the neighbours counts, and grazed ground does not.
        error = np.abs(around - far).min(axis=0)
        checked += len(far)
        assert np.median(error) < 0.1
        assert (error < 0.03 * far + 0.15).mean() > 0.9
    assert checked > 100


def test_lidar_points_on_a_car_lie_in_its_box_and_are_counted(senses, pose) -> None:
    points, owners = senses.lidar(moment(*pose, parked_at(10.0, 3.0, pose)))
    on_car = points[owners == 0]
    assert len(on_car) > 20
    offsets = np.abs(on_car[:, :2] - (10.0, 3.0))
    assert (offsets[:, 0] < 2.3 + 0.12).all()
    assert (offsets[:, 1] < 0.95 + 0.2).all()
    assert on_car[:, 2].min() >= 0
    assert on_car[:, 2].max() < 1.7
    assert points[:, 3].min() >= 0
    assert set(np.unique(points[:, 4])) <= set(range(32))


def test_a_radar_measures_how_fast_a_car_comes_over_ground(senses, pose) -> None:
    from tempovla.env.driving.radar import in_ego_frame

    away = parked_at(20.0, 0.0, pose, speed=6.0)
    found = senses.radar(moment(*pose, away, speed=8.0))["RADAR_FRONT"]
    on_car = found.agents == 0
    assert on_car.sum() >= 2
    np.testing.assert_allclose(found.velocities[on_car][:, 0], 6.0, atol=0.4)
    np.testing.assert_allclose(found.relative[on_car][:, 0], -2.0, atol=0.4)
    np.testing.assert_allclose(found.relative[~on_car & (np.abs(found.places[:, 1]) < 1.0)][:, 0], -8.0, atol=0.4)
    merged = in_ego_frame({"RADAR_FRONT": found})
    np.testing.assert_allclose(merged[on_car][:, 0], 20.0 - 2.3, atol=0.6)


def test_fog_shortens_what_the_lidar_and_the_cameras_see(senses, pose) -> None:
    from tempovla.env.driving.senses import CarSenses

    fog = CarSenses(replace(SMALL, image_height=90, image_width=160, lidar=True), "fog")
    now = moment(*pose, parked_at(30.0, 0.0, pose))
    clear_points, hazy_points = (each.lidar(now)[0] for each in (senses, fog))
    far = [np.hypot(points[:, 0], points[:, 1]) > 25.0 for points in (clear_points, hazy_points)]
    assert far[1].sum() < 0.9 * far[0].sum()
    clear, hazy = (each.picture(now, "front").astype(float) for each in (senses, fog))
    assert hazy[:45].std() < clear[:45].std()


def test_pictures_differ_by_light_and_weather_and_repeat(senses, pose) -> None:
    now = moment(*pose, parked_at(9.0, 0.0, pose))
    day = senses.picture(now, "front")
    assert day.shape == (90, 160, 3)
    assert day.dtype == np.uint8
    np.testing.assert_array_equal(day, senses.picture(now, "front"))
    assert (day != senses.picture(now, "back")).any()
    assert 60 < day.mean() < 200


def test_imu_measures_gravity_acceleration_and_turning() -> None:
    from tempovla.env.driving import imu

    states = [CarState(0, 0, 0, 5.0, steering=0.1, acceleration=1.5)] * 50
    rows = imu.measure(states, np.random.default_rng(0))
    assert rows.shape == (50, 7)
    np.testing.assert_allclose(rows[:, 0], np.arange(-49, 1) * 0.01, atol=1e-6)
    yaw_rate = 5.0 * math.tan(0.1) / 2.588
    np.testing.assert_allclose(rows[:, 1:].mean(0), [1.5, 5.0 * yaw_rate, 9.81, 0, 0, yaw_rate], atol=0.03)
