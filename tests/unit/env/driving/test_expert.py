"""The rule-based driver: what it does on a straight road with a light, a leader and somebody who crosses."""

import math

import numpy as np
import pytest

from tempovla.env.driving.agents import CAR, FIELDS, ID, KIND, PEDESTRIAN, SPEED, YAW, X, Y
from tempovla.env.driving.car import FRONT_M, CarState, drive
from tempovla.env.driving.episode import led_around
from tempovla.env.driving.expert import RuleDriver, Scene, speed_limits, turning_between
from tempovla.env.driving.route import Route, Turn
from tempovla.env.driving.town import Connection

NOBODY = np.zeros((0, FIELDS))
NOTHING = np.zeros((0, 5))


def road(length: float = 200.0) -> Route:
    """A straight way to the east, over a junction with a light after 60 m."""
    at = np.arange(0.0, length + 0.1, 0.5)
    over = Connection("a_0", "b_0", np.array([[60.0, 0.0], [80.0, 0.0]]), "s", ("light", 0), False)
    return Route(["a", "b"], np.stack([at, 0 * at], axis=1), [Turn(60.0, 80.0, "straight", over)])


def agent(kind: int, x: float, y: float, yaw: float = 0.0, speed: float = 0.0, number: int = 1) -> np.ndarray:
    row = np.zeros((1, FIELDS))
    row[0, [ID, KIND, X, Y, YAW, SPEED]] = number, kind, x, y, yaw, speed
    return row


def driven(agents: np.ndarray = NOBODY, light: str = "G", steps: int = 30, speed: float = 8.0) -> list[CarState]:
    """The car's states after each control step, from x = 0, among others that stand."""
    route, car = road(), CarState(0.0, 0.0, 0.0, speed)
    driver, states = RuleDriver(route, 10.0, NOTHING), []
    for _ in range(steps):
        scene = Scene(car, car.x, agents, np.zeros(len(agents)), {"light": light})
        car = drive(car, driver.act(scene))[-1]
        states.append(car)
    return states


def test_it_drives_at_its_speed_where_nothing_is_in_the_way() -> None:
    states = driven()
    assert states[-1].speed == pytest.approx(10.0, abs=0.3)
    assert max(abs(state.y) for state in states) < 0.05


def test_it_stops_before_a_red_light_and_not_at_a_green_one() -> None:
    stopped = driven(light="r")[-1]
    assert stopped.speed == 0.0
    assert 55.0 < stopped.x + FRONT_M < 60.0
    assert driven(light="G")[-1].x > 100.0


def test_it_passes_a_light_that_turns_yellow_too_late_to_stop() -> None:
    route = road()
    close = CarState(52.0, 0.0, 0.0, 9.0)
    scene = Scene(close, 52.0, NOBODY, np.zeros(0), {"light": "y"})
    assert RuleDriver(route, 10.0, NOTHING).acceleration(scene) > -1.0
    far = CarState(20.0, 0.0, 0.0, 9.0)
    assert RuleDriver(route, 10.0, NOTHING).acceleration(Scene(far, 20.0, NOBODY, np.zeros(0), {"light": "y"})) < -0.3


def test_it_stops_behind_a_car_that_stands() -> None:
    stopped = driven(agent(CAR, 40.0, 0.0))[-1]
    assert stopped.speed == 0.0
    assert 0.8 < 40.0 - 2.3 - (stopped.x + FRONT_M) < 4.0


def test_it_lets_a_pedestrian_cross() -> None:
    route = road()
    car = CarState(20.0, 0.0, 0.0, 8.0)
    crossing = agent(PEDESTRIAN, 38.0, -4.0, math.pi / 2, 1.4)
    away = agent(PEDESTRIAN, 38.0, -4.0, -math.pi / 2, 1.4)
    driver = RuleDriver(route, 10.0, NOTHING)
    lights = {"light": "G"}
    assert driver.acceleration(Scene(car, 20.0, crossing, np.zeros(1), lights)) < -0.5
    assert driver.acceleration(Scene(car, 20.0, away, np.zeros(1), lights)) > 0.5


def test_it_does_not_enter_a_junction_that_it_could_not_leave() -> None:
    stopped = driven(agent(CAR, 78.0, 0.0))[-1]
    assert stopped.speed == 0.0
    assert stopped.x + FRONT_M < 60.5


def test_it_brakes_for_a_curve_in_time() -> None:
    angle = np.linspace(0, math.pi / 2, 32)
    curve = np.stack([60 + 10 * np.sin(angle), 10 - 10 * np.cos(angle)], axis=1)
    straight = np.stack([np.arange(0, 60, 0.5), np.zeros(120)], axis=1)
    route = Route([], np.concatenate([straight, curve]), [])
    limits = speed_limits(route, 10.0)
    assert limits[-10] == pytest.approx(math.sqrt(2.2 * 10.0), rel=0.05)
    assert limits[0] == 10.0
    braking = -np.diff(limits**2) / 2 / np.diff(route.along)
    assert braking.max() < 1.6


def test_it_is_led_around_a_car_that_stands_out_into_the_lane() -> None:
    parked = np.array([[100.0, -2.0, 0.0, 4.6, 1.9]])
    route = road()
    around = led_around(route, parked)
    nearest = int(np.argmin(np.abs(route.line[:, 0] - 98.6)))
    assert around.line[nearest, 1] == pytest.approx(-2.0 + 0.95 + 0.865 + 0.4, abs=0.02)
    assert around.line[0, 1] == around.line[-1, 1] == 0.0
    assert not RuleDriver(around, 10.0, parked)._blocked
    assert RuleDriver(route, 10.0, parked + np.array([0, 0.3, 0, 0, 0]))._blocked == [pytest.approx(97.7, abs=0.6)]


def test_turning_is_measured_of_those_that_were_there_before() -> None:
    before, now = agent(CAR, 0, 0, yaw=3.1), np.concatenate([agent(CAR, 1, 0, yaw=-3.1), agent(CAR, 5, 5, number=2)])
    np.testing.assert_allclose(turning_between(before, now, 0.5), [(2 * math.pi - 6.2) / 0.5, 0.0], atol=1e-9)
