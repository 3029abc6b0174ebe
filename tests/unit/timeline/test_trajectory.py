import math

import pytest
import torch

from tempovla.timeline.trajectory import (
    compose,
    metric_waypoints,
    normalized_waypoints,
    relative,
    steps_of,
    valid_waypoints,
    waypoint_scaling,
    waypoints_of,
)


def random_steps(rows: int = 5, horizon: int = 6) -> torch.Tensor:
    drawn = torch.randn(rows, horizon, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return drawn * torch.tensor([5.0, 0.5, 0.4]).double()


def test_a_step_goes_forward_in_the_direction_of_the_pose():
    pose = torch.tensor([1.0, 2.0, math.pi / 2])
    found = compose(pose, torch.tensor([3.0, 1.0, 0.25]))
    torch.testing.assert_close(found, torch.tensor([0.0, 5.0, math.pi / 2 + 0.25]))
    torch.testing.assert_close(relative(found, pose), torch.tensor([3.0, 1.0, 0.25]))


def test_four_left_turns_of_a_square_lead_back():
    steps = torch.tensor([[2.0, 0.0, math.pi / 2]]).expand(4, 3)
    waypoints = waypoints_of(steps)
    corners = torch.tensor([[2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(waypoints[:, :2], corners, atol=1e-6, rtol=0)
    assert waypoints[-1, 2].item() == pytest.approx(2 * math.pi)


def test_steps_and_waypoints_undo_each_other():
    steps = random_steps()
    torch.testing.assert_close(steps_of(waypoints_of(steps)), steps, rtol=1e-12, atol=1e-12)
    there = metric_waypoints(normalized_waypoints(steps, 2.0), 2.0)
    torch.testing.assert_close(there, waypoints_of(steps), rtol=1e-12, atol=1e-12)


def test_a_car_at_the_typical_speed_has_waypoints_of_zero():
    steps = torch.tensor([[2.5, 0.0, 0.0]]).expand(6, 3)
    torch.testing.assert_close(normalized_waypoints(steps, 2.0), torch.zeros(6, 3))
    offset, scale = waypoint_scaling(6, 2.0, like=steps)
    assert offset[:, 0].tolist() == scale[:, 0].tolist() == [2.5, 5.0, 7.5, 10.0, 12.5, 15.0]
    assert (scale.diff(dim=0) > 0).all()


def test_a_waypoint_is_known_as_long_as_all_steps_to_it_are():
    valid = torch.tensor([[True, True, False, True], [False, True, True, True]])
    assert valid_waypoints(valid).tolist() == [[True, True, False, False], [False, False, False, False]]
