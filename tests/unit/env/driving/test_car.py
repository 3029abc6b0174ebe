"""The car does what an action says, as far as it can."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tempovla.env.driving.car import (
    LARGEST_ACCELERATION_M_S2,
    LARGEST_BRAKING_M_S2,
    LARGEST_STEERING_RAD,
    MIDDLE_M,
    STEERING_RATE_RAD_S,
    SUBSTEP_S,
    SUBSTEPS,
    WHEEL_BASE_M,
    CarState,
    drive,
    motion_between,
)

FAST = CarState(10.0, 20.0, 0.7, speed=8.0)


@pytest.mark.parametrize("action", [(4.0, 0.0, 0.0), (4.3, 0.05, 0.04), (3.6, -0.1, -0.06), (4.0, 0.12, 0.08)])
def test_a_possible_action_is_done_to_centimetres(action: tuple[float, float, float]) -> None:
    end = drive(FAST, np.array(action))[-1]
    np.testing.assert_allclose(motion_between(FAST, end), action, atol=0.02)


def test_the_same_circle_is_driven_on_without_swerving() -> None:
    curvature, speed = 0.08, 6.0
    length = speed * 0.5
    turn = curvature * length
    action = np.array([math.sin(turn) / curvature, (1 - math.cos(turn)) / curvature, turn])
    car = CarState(0.0, 0.0, 0.0, speed, steering=math.atan(curvature * WHEEL_BASE_M))
    for _ in range(4):
        states = drive(car, action)
        assert max(abs(state.steering - car.steering) for state in states) < 0.01
        car = states[-1]
    assert car.yaw == pytest.approx(4 * turn, abs=0.01)


def test_limits_of_the_car_hold() -> None:
    for action in ((12.0, 3.0, 1.2), (0.0, 0.0, 0.0), (2.0, -3.0, -1.2)):
        states = [FAST, *drive(FAST, np.array(action))]
        assert len(states) == SUBSTEPS + 1
        for before, after in pairwise(states):
            rate = (after.speed - before.speed) / SUBSTEP_S
            assert -LARGEST_BRAKING_M_S2 - 1e-6 <= rate <= LARGEST_ACCELERATION_M_S2 + 1e-6
            assert abs(after.steering - before.steering) <= STEERING_RATE_RAD_S * SUBSTEP_S + 1e-9
            assert abs(after.steering) <= LARGEST_STEERING_RAD
            assert after.speed >= 0


def test_it_stops_where_it_is_told_and_stays_there() -> None:
    slow = CarState(0.0, 0.0, 0.0, speed=2.0)
    end = drive(slow, np.array([0.4, 0.0, 0.0]))[-1]
    assert end.speed == 0.0
    assert end.x == pytest.approx(0.4, abs=0.03)
    assert drive(end, np.zeros(3))[-1].x == end.x


def test_a_car_that_stands_does_not_turn() -> None:
    end = drive(CarState(0.0, 0.0, 0.3), np.array([0.0, 0.0, 1.0]))[-1]
    assert (end.yaw, end.steering) == (0.3, 0.0)


def test_its_box_lies_around_its_middle() -> None:
    car = CarState(1.0, 2.0, math.pi / 2)
    np.testing.assert_allclose(car.box()[:2], [1.0, 2.0 + MIDDLE_M])
