"""What the navigator says at each control step."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tests.nuscenes_scenes import Rates, write

from tempovla.data.nuscenes.commands import path_commands, route_commands
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.poses import pose_matrices, yaw_quaternions
from tempovla.data.nuscenes.source import open_nuscenes
from tempovla.timeline.driving import COMMANDS


def street(turn_at: float, angle: float) -> np.ndarray:
    """A route that goes east for some metres, then turns by an angle on an arc of 6 m."""
    straight = np.stack([np.arange(0.0, turn_at, 2.0), np.zeros(len(np.arange(0.0, turn_at, 2.0)))], axis=1)
    bends = np.linspace(0, abs(angle), 8)
    side = math.copysign(1.0, angle)
    arc = np.stack([turn_at + 6 * np.sin(bends), side * 6 * (1 - np.cos(bends))], axis=1)
    way = np.arange(1.0, 60.0)[:, None] * [math.cos(angle), math.sin(angle)]
    return np.concatenate([straight, arc, arc[-1] + way])


def along(places: list[float]) -> np.ndarray:
    """Poses of a car that drives east, at these distances."""
    moved = np.stack([places, np.zeros(len(places)), np.zeros(len(places))], axis=1)
    return pose_matrices(moved, yaw_quaternions(np.zeros(len(places))))


@pytest.mark.parametrize(("angle", "command"), [(math.pi / 2, "left"), (-math.pi / 2, "right"), (0.2, "follow")])
def test_a_turn_of_the_route_is_told_when_it_is_near(angle: float, command: str):
    route = street(60.0, angle)
    assert route_commands(route, along([0.0, 20.0, 45.0, 55.0])) == ["follow", "follow", command, command]


def test_after_a_turn_the_car_follows_the_road():
    route = street(20.0, math.pi / 2)
    poses = np.concatenate([along([10.0]), pose_matrices([[26.0, 15.0, 0]], yaw_quaternions([math.pi / 2]))])
    assert route_commands(route, poses) == ["left", "follow"]


def test_a_route_that_passes_a_place_twice_is_followed_in_order():
    loop = np.array([[0.0, 0], [40, 0], [40, 40], [20, 40], [20, -40]])
    poses = np.concatenate(
        [along([0.0, 5.0]), pose_matrices([[40.0, 20, 0], [20.0, 20, 0]], yaw_quaternions([math.pi / 2, -math.pi / 2]))]
    )
    assert route_commands(loop, poses) == ["follow", "follow", "left", "follow"]


def test_a_car_that_leaves_the_route_has_no_commands_of_it():
    assert route_commands(street(60.0, 0.5), along([0.0, 10.0]) + np.eye(4)[1][:, None] * [0, 0, 0, 9.0]) is None
    assert route_commands(np.array([[0.0, 0.0]]), along([0.0])) is None


def test_commands_of_a_path_are_where_the_car_is_later():
    places = [[0.0, 0, 0], [5, 0, 0], [10, 1, 0], [15, 3, 0], [20, 3.5, 0], [25, -4, 0]]
    poses = pose_matrices(places, yaw_quaternions(np.zeros(6)))
    assert path_commands(poses, 3) == ["left", "left", "right", "right", "right", "follow"]


def test_files_of_our_own_go_before_routes_and_routes_before_paths(tmp_path: Path):
    root = write(tmp_path / "data", (3,), Rates(2.0, 2.0, 2.0), commands=["straight", "right", "follow"])
    assert open_nuscenes(root).instructions(0) == tuple(COMMANDS[c] for c in ("straight", "right", "follow"))
    by_path = open_nuscenes(root, NuScenesOptions(commands="path"))
    path = [COMMANDS["follow"]] * 3  # within the two steps that there are, the car moves 0.6 m to the left
    assert list(by_path.instructions(0)) == path
    (root / "can_bus" / "scene-0061_tempovla_commands.json").unlink()
    assert set(open_nuscenes(root).instructions(0)) == {COMMANDS["left"]}  # the route is a circle to the left
    route = root / "can_bus" / "scene-0061_route.json"
    route.write_text(json.dumps([[x, 300.0] for x in range(100)]))
    assert list(open_nuscenes(root).instructions(0)) == path
    route.unlink()
    assert list(open_nuscenes(root).instructions(0)) == path
