"""Rotations and poses in space."""

import math

import numpy as np
import pytest

from tempovla.data.nuscenes import poses


def random_quaternions(count: int) -> np.ndarray:
    q = np.random.default_rng(0).normal(size=(count, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, :1] < 0, -q, q)


def test_quaternions_of_matrices_are_the_ones_they_were_made_of():
    q = np.concatenate([random_quaternions(200), np.eye(4), [[0.0, 1, 1, 0], [1e-9, 0, 0, 1]] / np.sqrt(2)[..., None]])
    matrices = poses.rotation_matrices(q)
    back = poses.quaternions(matrices)
    np.testing.assert_allclose(poses.rotation_matrices(back), matrices, atol=1e-12)
    np.testing.assert_allclose(np.abs((back[:200] * q[:200]).sum(axis=1)), 1.0, atol=1e-12)
    assert (back[:, 0] >= 0).all()


def test_a_quaternion_turns_as_the_right_hand_rule_says():
    quarter = poses.rotation_matrices([math.sqrt(0.5), 0, 0, math.sqrt(0.5)])
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(poses.rotation_matrices(poses.yaw_quaternions(math.pi / 2)), quarter, atol=1e-12)
    np.testing.assert_allclose(poses.yaws(quarter), math.pi / 2)


def test_points_come_back_through_the_inverse_pose():
    random = np.random.default_rng(1)
    pose = poses.pose_matrices(random.uniform(-2000, 2000, 3), random_quaternions(1)[0])
    points = random.uniform(-100, 100, (50, 3))
    back = poses.move_points(poses.inverse(pose), poses.move_points(pose, points))
    np.testing.assert_allclose(back, points, atol=1e-6)
    np.testing.assert_allclose(poses.inverse(pose) @ pose, np.eye(4), atol=1e-9)


def test_between_two_poses_a_turn_has_a_constant_rate():
    times = np.array([0, 100])
    moved = np.array([[0.0, 0, 0], [10, 0, 2]])
    turned = np.stack([poses.yaw_quaternions(0.0), -poses.yaw_quaternions(2.0)])  # the same turn, by the other sign
    found = poses.interpolate(times, moved, turned, np.array([-5, 0, 25, 50, 100, 200]))
    np.testing.assert_allclose(poses.yaws(found), [0, 0, 0.5, 1.0, 2.0, 2.0], atol=1e-12)
    np.testing.assert_allclose(found[:, 0, 3], [0, 0, 2.5, 5, 10, 10])


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 0.1])
def test_small_turns_are_interpolated_as_exactly(angle: float):
    turned = poses.yaw_quaternions(np.array([0.3, 0.3 + angle]))
    found = poses.interpolate(np.array([0, 10]), np.zeros((2, 3)), turned, np.array([4]))
    np.testing.assert_allclose(poses.yaws(found), 0.3 + 0.4 * angle, atol=1e-12)


def test_a_single_known_pose_holds_always():
    found = poses.interpolate(np.array([7]), np.array([[1.0, 2, 3]]), np.array([[1.0, 0, 0, 0]]), np.array([0, 7, 9]))
    np.testing.assert_allclose(found[:, :3, 3], [[1, 2, 3]] * 3)
