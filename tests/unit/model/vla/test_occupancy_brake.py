from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.registry import POLICIES
from torch import Tensor

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.model.vla.occupancy_brake import TO_M, OccupancyBrake
from tempovla.timeline import laws, training_windows

GRID = BEVGridConfig(x_min=-8.0, x_max=24.0, y_min=-8.0, y_max=8.0, resolution=1.0)
TIMES = (0.0, 1.0)


def brake(threshold: float = 0.5) -> OccupancyBrake:
    return OccupancyBrake(GRID, TIMES, 2.0, threshold)


def plan(speed: float = 5.0, turn: float = 0.0) -> Tensor:
    """A way of three seconds along an arc."""
    time = torch.arange(1, 7) / 2.0
    heading = turn * time
    x = speed * time if turn == 0 else speed / turn * torch.sin(heading)
    y = torch.zeros(6) if turn == 0 else speed / turn * (1 - torch.cos(heading))
    return torch.stack([x, y, heading], dim=-1)[None]


def covered(*places: tuple[int, float, float], probability: float = 1.0) -> Tensor:
    """Maps of both moments on which cells at moment, x and y are covered."""
    maps = torch.zeros(1, len(TIMES), GRID.rows, GRID.columns)
    for moment, x, y in places:
        row, column = GRID.to_grid(x, y)
        maps[0, moment, int(row), int(column)] = probability
    return maps


def test_a_free_way_is_driven_as_planned():
    for each in (plan(), plan(turn=0.3), plan(0.0)):
        assert torch.equal(brake()(each, covered()), each)
        beside = covered((0, 6.5, 3.5), (1, 6.5, 3.5), (0, -3.5, 0.5), (1, -3.5, 0.5))
        assert torch.equal(brake()(each, beside), each)


@pytest.mark.parametrize("y", [-0.5, 0.5])
def test_the_car_stays_behind_what_stands_in_its_way(y):
    wall = covered((0, 9.5, y), (1, 9.5, y))
    driven = brake()(plan(), wall)
    assert (driven[0, :3, 0] + TO_M < 9.5).all()
    assert driven[0, 0, 0] > 0
    torch.testing.assert_close(driven, plan() * driven[0, 0, 0] / plan()[0, 0, 0])


def test_the_car_stops_if_nothing_slower_is_free():
    driven = brake()(plan(), covered((0, 4.0, 0.5), (1, 4.0, 0.5)))
    assert not driven.any()


def test_the_car_moves_over_around_what_stands_out_into_its_way():
    """A cell at its right edge is covered in part."""
    corner = covered(*((moment, x + 0.5, -0.5) for moment in (0, 1) for x in (6, 7, 8)), probability=0.6)
    driven = brake()(plan(), corner)
    torch.testing.assert_close(driven[0, :, 0], plan()[0, :, 0])
    assert (driven[0, 2:, 1] > 0.35).all()
    assert driven[0, 0, 2] > 0
    assert driven[0, -1, 2] == 0
    wall = covered(*((moment, 7.5, y + 0.5) for moment in (0, 1) for y in range(-4, 4)))
    assert brake()(plan(), wall)[0, -1, 0] < 7.5


def test_a_slower_drive_keeps_to_the_curve():
    """The same cell is in the way of the arc, and beside the way straight on."""
    arc, cell = plan(turn=0.5), covered((0, 6.5, 2.5), (1, 6.5, 2.5))
    driven = brake()(arc, cell)
    assert driven[0, -1, 0] < arc[0, -1, 0]
    radius = 5.0 / 0.5
    found = (driven[0, :, 0] ** 2 + (radius - driven[0, :, 1]) ** 2).sqrt()
    torch.testing.assert_close(found, torch.full((6,), radius), rtol=1e-2, atol=0)  # between waypoints it cuts corners
    assert torch.equal(brake()(plan(), cell), plan())


def test_one_who_drives_away_is_not_in_the_way():
    assert torch.equal(brake()(plan(), covered((0, 7.5, 0.5), (1, 13.5, 0.5))), plan())
    assert not torch.equal(brake()(plan(), covered((0, 7.5, 0.5), (1, 7.5, 0.5))), plan())


def test_of_waypoints_far_beyond_the_last_moment_nothing_is_known():
    """At 2 s the car is at 10 m, where the cell of 1 s does not count any more."""
    assert torch.equal(brake()(plan(), covered((1, 13.5, 0.5))), plan())
    assert not torch.equal(brake()(plan(), covered((1, 10.5, 0.5))), plan())


def test_cells_below_the_threshold_do_not_count():
    maps = covered((0, 6.5, 0.0), (1, 6.5, 0.0), probability=0.6)
    assert torch.equal(brake(0.7)(plan(), maps), plan())
    assert not torch.equal(brake(0.2)(plan(), maps), plan())


def test_rows_do_not_notice_each_other():
    maps = torch.cat([covered(), covered((0, 6.5, 0.5), (1, 6.5, 0.5))])
    both = brake()(plan().expand(2, -1, -1), maps)
    assert torch.equal(both[:1], plan())
    assert torch.equal(both[1:], brake()(plan(), maps[1:]))
    assert brake()(plan()[:0], maps[:0]).shape == (0, 6, 3)


def test_a_policy_brakes_for_what_it_sees():
    case = POLICIES["driving-taught"]
    policy = case.build()
    sample = laws.random_sample(training_windows(policy), case.shapes, rows=3, body=case.body)

    def driven(threshold: float) -> Tensor:
        other = MultiSensorVLA(replace(policy.config, brake_threshold=threshold)).eval()
        other.load_state_dict(policy.state_dict())
        assert other.supervision.occupancy is not None
        torch.nn.init.constant_(other.supervision.occupancy.layers[-1].bias, 9.0)  # it sees others everywhere
        with torch.no_grad():
            chunk, _ = other.act(sample.context, other.initial_state(3))
        return chunk.value

    halted, plain = driven(0.5), driven(0.0)
    assert not torch.equal(halted, plain)
    stands = torch.full_like(halted[:, :, 0], -1.0)  # the normalised way forward of a car that does not move
    torch.testing.assert_close(halted[:, :, 0], stands)


def test_a_policy_without_any_sensor_brakes_for_nothing():
    case = POLICIES["driving-taught"]
    policy = case.build()
    sample = laws.random_sample(training_windows(policy), case.shapes, rows=3, body=case.body)
    cameras = [key for key in sample.context.now if key.startswith("observation.images.")]
    now = dict(sample.context.now)
    for key in cameras:  # those of the second row do not work
        now[key] = replace(now[key], valid=torch.tensor([[True], [False], [True]]))
    assert policy.supervision.occupancy is not None
    torch.nn.init.constant_(policy.supervision.occupancy.layers[-1].bias, 9.0)  # it sees others everywhere
    with torch.no_grad():
        braked = policy.act(replace(sample.context, now=now), policy.initial_state(3))[0].value
        policy.brake = None
        plain = policy.act(replace(sample.context, now=now), policy.initial_state(3))[0].value
    assert torch.equal(braked[1], plain[1])
    assert not torch.equal(braked[0], plain[0])


def test_waypoints_long_before_the_first_moment_are_not_judged():
    late = OccupancyBrake(GRID, (2.0,), 2.0, 0.5)
    assert late._when(6).tolist() == [[False, False, True, True, True, False]]


def test_without_predictions_of_others_it_is_refused():
    for settings in ({"brake_threshold": 0.5}, {"brake_threshold": 1.0, "occupancy_weight": 1.0}):
        with pytest.raises(ValueError, match=r"model\.brake_threshold"):
            MultiSensorVLAConfig(**settings)


def test_a_threshold_for_a_policy_without_a_view_is_told_to_have_no_effect():
    for settings, names in (({"sensors": ("imu",)}, {"brake_threshold"}), ({}, set())):
        config = MultiSensorVLAConfig(occupancy_weight=1.0, brake_threshold=0.5, **settings)
        assert set(config.without_effect) == names
    assert not MultiSensorVLAConfig(sensors=(), occupancy_weight=1.0).without_effect


def test_waypoints_of_which_nothing_is_predicted_are_refused():
    with pytest.raises(ValueError, match=r"model\.rate_hz=0\.5 .* model\.occupancy_times=\[0\.0, 1\.0\]"):
        OccupancyBrake(GRID, TIMES, 0.5, 0.5)
