"""Routes: where one is on them, and what the navigator says."""

import numpy as np
import pytest
from tests.corner_town import corner

from tempovla.env.driving.route import ANNOUNCED_M, Route, Turn, route_over, trimmed


def test_a_route_runs_over_its_junction_and_names_its_turn() -> None:
    route = route_over(corner(), ["a", "b"])
    (turn,) = route.turns
    assert turn.command == "left"
    assert turn.start_m == pytest.approx(60.0, abs=0.5)
    assert turn.end_m == pytest.approx(60.0 + np.hypot(7, 3) + np.hypot(3, 7), abs=0.5)
    np.testing.assert_allclose(route.line[-1], [70.0, 110.0], atol=1e-6)
    assert route.yaw[-1] == pytest.approx(np.pi / 2, abs=1e-3)


def test_the_navigator_tells_the_turn_before_it_and_until_it_is_over() -> None:
    route = route_over(corner(), ["a", "b"])
    (turn,) = route.turns
    said = [route.command(at) for at in (turn.start_m - ANNOUNCED_M - 1, turn.start_m - ANNOUNCED_M + 1)]
    assert said == ["follow", "left"]
    assert route.command(turn.end_m - 0.5) == "left"
    assert route.command(turn.end_m + 0.5) == "follow"
    assert route_over(corner(), ["a", "c"]).command(50.0) == "straight"


def test_a_place_is_found_on_the_route_and_beside_it() -> None:
    route = route_over(corner(), ["a", "c"])
    along, left = route.project(30.2, 1.5, near_m=28.0)
    assert (along, left) == (pytest.approx(30.2, abs=1e-6), pytest.approx(1.5, abs=1e-6))


def test_a_part_of_a_route_begins_at_zero_and_looks_beyond_its_end() -> None:
    part = trimmed(route_over(corner(), ["a", "b"]), 20.0, 60.0)
    assert part.length == 60.0
    assert part.along[-1] > 60.0
    assert part.turns[0].start_m == pytest.approx(40.0, abs=0.5)
    np.testing.assert_allclose(part.line[0], [20.0, 0.0], atol=1e-6)


def test_a_moved_route_keeps_its_distances() -> None:
    route = route_over(corner(), ["a", "c"])
    moved = route.moved(np.full(len(route.line), 0.5))
    np.testing.assert_allclose(moved.line[:, 1], route.line[:, 1] + 0.5)
    assert moved.along is route.along


def test_a_route_that_meets_itself_is_projected_where_one_is() -> None:
    loop = np.array([[0.0, 0.0], [50.0, 0.0], [50.0, 50.0], [10.0, 50.0], [10.0, -20.0]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(loop, axis=0).T))])
    at = np.arange(0.0, along[-1], 0.5)
    route = Route([], np.stack([np.interp(at, along, loop[:, axis]) for axis in (0, 1)], 1), list[Turn]())
    assert route.project(10.0, 0.0, near_m=9.0)[0] == pytest.approx(10.0, abs=0.3)
    assert route.project(10.0, 0.0, near_m=188.0)[0] == pytest.approx(190.0, abs=0.3)
