"""What an episode is judged by."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tempovla.env.driving.agents import CAR, FIELDS, ID, KIND, PEDESTRIAN, SPEED, YAW, X, Y
from tempovla.env.driving.car import FRONT_M, CarState
from tempovla.env.driving.infractions import PARKED_FROM, Judge, comfort, nominal_times
from tempovla.env.driving.route import Route, Turn
from tempovla.env.driving.town import Connection
from tempovla.timeline.driving import FIGURES

NOBODY = np.zeros((0, FIELDS))


def judge(half_road_m: float = 3.0) -> Judge:
    at = np.arange(0.0, 100.1, 0.5)
    over = Connection("a_0", "b_0", np.array([[30.0, 0.0], [40.0, 0.0]]), "s", ("light", 0), False)
    route = Route(["a", "b"], np.stack([at, 0 * at], axis=1), [Turn(30.0, 40.0, "straight", over)])
    ground = SimpleNamespace(off_road_m=lambda points: np.maximum(np.abs(points[:, 1]) - half_road_m, 0.0))
    found = Judge(route, ground, nominal_times(route, np.full(len(at), 10.0)))  # type: ignore[arg-type]
    found.begin(CarState(0.0, 0.0, 0.0, 5.0))
    return found


def play(
    found: Judge, xs: np.ndarray, agents: np.ndarray = NOBODY, light: str = "G", y: float = 0.0, speed: float = 5.0
) -> bool:
    before, ended = CarState(float(xs[0]), y, 0.0, speed), False
    for x in xs[1:]:
        car = CarState(float(x), y, 0.0, speed)
        ended = found.watch(before, car, agents, {"light": light})
        before = car
    return ended


def agent(kind: int, x: float, y: float, yaw: float = 0.0, speed: float = 0.0, number: int = 1) -> np.ndarray:
    row = np.zeros((1, FIELDS))
    row[0, [ID, KIND, X, Y, YAW, SPEED]] = number, kind, x, y, yaw, speed
    return row


def test_completion_counts_until_the_front_is_at_the_goal() -> None:
    found = judge()
    play(found, np.arange(0.0, 50.1, 0.5))
    assert found.completion == pytest.approx(50.0 / (100.0 - FRONT_M))
    assert found.distance_m == pytest.approx(50.0)
    play(found, np.arange(50.0, 97.6, 0.5))
    assert found.arrived
    assert found.figures()["completion"] == 1.0


def test_its_figures_are_those_that_are_documented() -> None:
    found = judge()
    play(found, np.arange(0.0, 5.0, 0.5))
    own = found.figures()
    assert set(own) <= set(FIGURES)
    assert all(math.isfinite(value) for value in own.values())


def test_a_red_light_counts_once_and_only_where_its_line_is_crossed() -> None:
    found = judge()
    play(found, np.arange(0.0, 26.0, 0.5), light="r")
    assert found.red_lights == 0
    play(found, np.arange(26.0, 45.0, 0.5), light="r")
    assert found.red_lights == 1
    green = judge()
    play(green, np.arange(0.0, 45.0, 0.5), light="g")
    assert green.red_lights == 0


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (agent(CAR, 20.0, 0.5, speed=1.0), "vehicle"),
        (agent(CAR, 20.0, 0.5, number=PARKED_FROM + 3), "static"),
        (agent(PEDESTRIAN, 20.0, 0.5), "pedestrian"),
    ],
)
def test_a_collision_ends_the_episode_and_says_with_whom(other: np.ndarray, kind: str) -> None:
    found = judge()
    assert play(found, np.arange(0.0, 18.0, 0.5), other)
    figures = found.figures()
    assert [figures[f"collision_{name}"] for name in ("vehicle", "static", "pedestrian")] == [
        float(name == kind) for name in ("vehicle", "static", "pedestrian")
    ]
    assert figures["collision"] == figures["at_fault"] == 1.0


def test_whoever_is_hit_from_behind_or_while_it_stands_is_not_at_fault() -> None:
    behind = judge()
    assert play(behind, np.array([10.0, 10.2]), agent(CAR, 7.5, 0.0, speed=9.0), speed=2.0)
    assert behind.figures()["at_fault"] == 0.0
    standing = judge()
    assert play(standing, np.array([10.0, 10.0]), agent(CAR, 14.0, 1.0, speed=9.0), speed=0.0)
    assert standing.figures()["at_fault"] == 0.0


def test_leaving_the_road_with_a_wheel_is_noted_and_with_the_middle_ends_it() -> None:
    found = judge()
    assert not play(found, np.array([5.0, 5.5]), y=2.5)
    assert (found.figures()["drivable"], found.figures()["off_road"]) == (0.0, 0.0)
    assert play(found, np.array([5.5, 6.0]), y=5.5)
    assert found.figures()["off_road"] == 1.0


def test_who_soon_meets_somebody_ahead_violates_the_time_to_collision() -> None:
    found = judge()
    found.end_step(CarState(0.0, 0.0, 0.0, 8.0), agent(CAR, 12.0, 0.0))
    assert found.ttc_violations == 1
    found.end_step(CarState(0.0, 0.0, 0.0, 8.0), agent(CAR, 30.0, 0.0))
    found.end_step(CarState(0.0, 0.0, 0.0, 8.0), agent(CAR, 12.0, 4.0))
    found.end_step(CarState(0.0, 0.0, 0.0, 0.0), agent(CAR, 5.0, 0.0))
    assert found.ttc_violations == 1


def test_comfort_is_that_of_the_motion() -> None:
    times = np.arange(60) * 0.1
    braking = comfort(10.0 - 2.0 * times.clip(max=3.0), 0.0 * times)
    assert braking["max_deceleration"] == pytest.approx(2.0, abs=0.05)
    assert braking["max_acceleration"] < 0.6
    circle = comfort(np.full(60, 6.0), 0.3 * times)
    assert circle["max_yaw_rate"] == pytest.approx(0.3)
    assert circle["max_lateral_acceleration"] == pytest.approx(1.8)
    assert circle["max_longitudinal_jerk"] == pytest.approx(0.0, abs=1e-9)
    assert comfort(np.array([3.0]), np.array([0.0]))["max_jerk"] == 0.0


def test_progress_is_that_of_a_driver_whom_nothing_stops() -> None:
    found = judge()
    play(found, np.arange(0.0, 25.1, 0.5))
    assert found.figures()["progress"] == pytest.approx(25.0 / 50.0, rel=0.02)


def test_a_car_that_takes_another_way_leaves_its_route() -> None:
    """The route goes straight on, and the car turns off to the left."""
    found = judge(half_road_m=1000.0)
    for y, ends in ((10.0, False), (29.0, False), (31.0, True)):
        assert play(found, np.array([5.0, 5.5]), y=y) is ends
        assert found.figures()["off_route"] == float(ends)
