from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.policy_cases import driving
from tests.contract.registry import POLICIES

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.driving_supervision import OccupancyHead, RoadHead
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_vla import MultiSensorVLA
from tempovla.objective import Objective
from tempovla.objective.objective import measure
from tempovla.timeline import TimelineSample, Track, laws, training_windows
from tempovla.timeline.driving import BOX_NAMES, BOXES_KEY, HEADS_KEY, LIGHT_KEY, ROAD_KEY

GRID = BEVGridConfig(x_min=-8.0, x_max=8.0, y_min=-8.0, y_max=8.0, resolution=2.0)
EVERYWHERE = torch.ones(1, dtype=torch.bool)
AHEAD = [5.0, 1.0, 0.0, 1.8, 1.8, -2.0, 0.0, 1.0, 0.0]
"""A small car in row 1 and column 3 that comes nearer by a cell a second."""


CASES = {**POLICIES, "with all sensors": driving(occupancy_weight=0.5, light_weight=0.2)}


def sample_of(name: str, rows: int = 4) -> tuple[MultiSensorVLA, TimelineSample]:
    case = CASES[name]
    policy = case.build()
    return policy, laws.random_sample(training_windows(policy), case.shapes, rows=rows, body=case.body)


def boxes_track(*boxes: list[float]) -> Track:
    return Track.of_points(torch.tensor([[list(boxes)]]), (0,))


def heads_track(*rows_of_heads: list[list[float]], rows: int = 1) -> Track:
    """Heads of one light, the same in all rows."""
    return Track.of_points(torch.tensor(rows_of_heads)[:, None].repeat(rows, 1, 1, 1), (0,))


def with_now(sample: TimelineSample, **tracks: Track) -> TimelineSample:
    keys = {"boxes": BOXES_KEY, "road": ROAD_KEY, "light": LIGHT_KEY, "heads": HEADS_KEY}
    now = {**sample.context.now, **{keys[name]: track for name, track in tracks.items()}}
    return replace(sample, context=replace(sample.context, now=now))


def test_by_default_nothing_is_learned_beside_trajectories():
    policy, sample = sample_of("driving")
    assert not [name for name in policy.state_dict() if name.startswith("supervision")]
    assert set(policy(sample)) == {"action_loss"}
    assert not {BOXES_KEY, ROAD_KEY, LIGHT_KEY, HEADS_KEY} & set(policy.config.streams())
    taught = MultiSensorVLA(replace(policy.config, occupancy_weight=1.0, road_weight=1.0))
    assert [name for name in taught.state_dict() if name.startswith("supervision")]
    torch.manual_seed(0)
    plain = MultiSensorVLA(policy.config).state_dict()
    torch.manual_seed(0)
    other = MultiSensorVLA(taught.config).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in plain.items())


@pytest.mark.parametrize("name", ["driving-taught", "driving-taught-lstm"])
def test_boxes_road_and_lights_are_read_in_training_alone(name):
    policy, sample = sample_of(name)
    keys = {BOXES_KEY, ROAD_KEY, LIGHT_KEY, HEADS_KEY}
    assert not keys & {window.key for window in policy.windows()}
    windows = {window.key: window for window in policy.training_windows()}
    state = windows["observation.state"].offsets
    assert all(windows[key].optional and windows[key].offsets == state for key in keys)
    named = {"occupancy_loss", "occupancy_iou", "road_loss", "road_iou", "light_loss", "light_accuracy"}
    assert named <= set(policy(sample))
    now = {key: track for key, track in sample.context.now.items() if key not in keys}
    without = replace(sample.context, now=now)
    plans = []
    for context in (sample.context, without):
        with torch.no_grad():
            plans.append(policy.act(context, policy.initial_state(4))[0].value)
    assert torch.equal(*plans)


def test_their_terms_stay_away_with_their_streams():
    policy, sample = sample_of("driving-taught")
    now = {key: track for key, track in sample.context.now.items() if key != BOXES_KEY}
    terms = policy(replace(sample, context=replace(sample.context, now=now)))
    assert "light_loss" in terms
    assert "occupancy_loss" not in terms


def test_boxes_move_on_at_their_velocity():
    head = OccupancyHead(2, GRID, (0.0, 1.0), 1.0)
    covered, known = head.targets(torch.tensor([[AHEAD]]), torch.ones(1, 1, dtype=torch.bool))
    assert covered.nonzero().tolist() == [[0, 0, 1, 3], [0, 1, 2, 3]]
    assert known.all()


def test_where_a_box_of_unknown_velocity_is_the_future_is_not_known():
    head = OccupancyHead(2, GRID, (0.0, 1.0), 1.0)
    unknown = [*AHEAD[:5], 0.0, 0.0, 0.0, 0.0]
    covered, known = head.targets(torch.tensor([[unknown]]), torch.ones(1, 1, dtype=torch.bool))
    assert covered.nonzero().tolist() == [[0, 0, 1, 3]]
    assert (~known).nonzero().tolist() == [[0, 1, 1, 3]]


def test_the_road_is_the_share_of_each_cell_that_is_drivable():
    head = RoadHead(2, GRID)
    squares = torch.tensor([[[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [-0.5, 0.5], [20.0, 0.0], [7.5, 7.5]]])
    present = torch.tensor([[True, True, True, True, True, False]])
    share = head.targets(squares, present)[0]
    assert share.nonzero().tolist() == [[3, 3], [4, 3]]
    assert share[3:5, 3].tolist() == [0.75, 0.25]


def test_cells_finer_than_the_map_are_refused():
    with pytest.raises(ValueError, match=r"model\.grid\.resolution=0\.5 is finer than the squares of 1 m"):
        RoadHead(2, replace(GRID, resolution=0.5))


def test_cells_that_the_map_does_not_reach_teach_no_road():
    """The lattice reaches 32 m to the rear, and cells further behind are unknown."""
    head = RoadHead(2, BEVGridConfig(x_min=-36.0, x_max=-28.0, y_min=-4.0, y_max=4.0, resolution=2.0))
    road = Track.of_points(torch.tensor([[[[-29.0, 0.5]]]]), (0,))
    valid = head.terms(torch.zeros(1, 2, 4, 4), EVERYWHERE, road, 1.0)["road_loss"].valid[0]
    assert valid.all(dim=1).tolist() == [True, True, False, False]
    assert not valid[2:].any()


def test_the_loss_of_the_road_is_the_cross_entropy_with_the_share():
    head = RoadHead(2, GRID)
    torch.nn.init.zeros_(head.layers[-1].weight)
    torch.nn.init.constant_(head.layers[-1].bias, 1.0)
    road = Track.of_points(torch.tensor([[[[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]]]), (0,))
    terms = head.terms(torch.zeros(1, 2, 8, 8), EVERYWHERE, road, 0.5)
    loss, free = terms["road_loss"], torch.log1p(torch.tensor(1.0).exp())
    torch.testing.assert_close(loss.prediction[0, 3, 3], free - 0.75)
    torch.testing.assert_close(loss.prediction[0, 4, 3], free)
    assert loss.weight == 0.5
    assert measure("road_iou", terms["road_iou"]).tolist() == [1.0, 64.0]


def test_covered_cells_count_more_as_the_config_says():
    """With logits of 0 every free cell costs ln 2, and a covered one as many times as much."""
    head = OccupancyHead(2, GRID, (0.0,), 3.0)
    torch.nn.init.zeros_(head.layers[-1].weight)
    torch.nn.init.zeros_(head.layers[-1].bias)
    terms = head.terms(torch.zeros(1, 2, 8, 8), EVERYWHERE, boxes_track(AHEAD), 0.5)
    loss = terms["occupancy_loss"]
    expected = torch.full((1, 1, 8, 8), torch.log(torch.tensor(2.0)).item())
    expected[0, 0, 1, 3] *= 3.0
    torch.testing.assert_close(loss.prediction, expected)
    assert loss.weight == 0.5
    assert loss.valid.all()


def test_the_metric_is_the_intersection_over_the_union():
    head = OccupancyHead(1, GRID, (0.0,), 1.0)
    found = torch.full((1, 1, 8, 8), -1.0)
    found[0, 0, 1, 3] = found[0, 0, 1, 4] = found[0, 0, 7, 7] = 1.0
    head.forward = lambda bev: found  # type: ignore[method-assign]
    other = [-5.0, -3.0, *AHEAD[2:]]
    metric = head.terms(found, EVERYWHERE, boxes_track(AHEAD, other), 1.0)["occupancy_iou"]
    assert measure("occupancy_iou", metric).tolist() == [1.0, 4.0]


def test_nothing_is_learned_of_frames_without_sensors_boxes_or_pictures():
    policy, sample = sample_of("driving-taught", rows=2)
    lacking = torch.tensor([[True], [False]])

    def blind(key: str, track: Track) -> Track:
        taught = key in (BOXES_KEY, LIGHT_KEY, HEADS_KEY)
        return track if taught or not key.startswith("observation") else replace(track, valid=lacking)

    terms = policy(replace(sample, context=sample.context.map_tracks(blind)))
    assert terms["occupancy_loss"].valid.flatten(1).any(dim=1).tolist() == [True, False]
    assert terms["light_loss"].valid.flatten(1).all(dim=1).tolist() == [True, False]
    boxes, light = (replace(sample.context.now[key], valid=~lacking) for key in (BOXES_KEY, LIGHT_KEY))
    terms = policy(with_now(sample, boxes=boxes, light=light))
    assert terms["occupancy_loss"].valid.flatten(1).any(dim=1).tolist() == [False, True]
    assert terms["light_loss"].valid.flatten(1).all(dim=1).tolist() == [False, True]


def test_a_frame_in_which_nobody_is_around_teaches_that_all_cells_are_free():
    head = OccupancyHead(2, GRID, (0.0, 1.0), 1.0)
    nobody = Track.of_points(torch.full((1, 1, 3, len(BOX_NAMES)), torch.nan), (0,))
    terms = head.terms(torch.zeros(1, 2, 8, 8), EVERYWHERE, nobody, 1.0)
    assert terms["occupancy_loss"].valid.all()
    torch.testing.assert_close(
        terms["occupancy_loss"].prediction, torch.nn.functional.softplus(head(torch.zeros(1, 2, 8, 8)))
    )


def test_the_view_and_the_front_camera_learn_what_they_are_taught():
    """Gradients of both terms reach the encoders of the sensors, and descent lowers them."""
    torch.manual_seed(0)
    policy, sample = sample_of("with all sensors")
    policy.train()
    moving = boxes_track(AHEAD)
    sample = with_now(
        sample,
        boxes=moving._each(lambda value: value.repeat(4, *[1] * (value.dim() - 1)), moving.offset),
        light=Track.of(torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None, None], (0,)),
        heads=heads_track([[15.0, -2.0, 3.0]], rows=4),
    )
    before = policy(sample)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        terms = policy(sample)
        Objective()({name: terms[name] for name in ("occupancy_loss", "light_loss")}).total.backward()
        optimizer.step()
    report, first = Objective()(policy(sample)), Objective()(before)
    for name in ("occupancy_loss", "light_loss"):
        assert report.terms[name] < 0.3 * first.terms[name]
    for name in ("occupancy_iou", "light_accuracy"):
        total, count = report.metrics[name].tolist()
        assert total / count > 0.9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"occupancy_weight": -1.0}, "model.occupancy_weight=-1.0 must be finite, and not negative"),
        ({"occupancy_times": ()}, r"model.occupancy_times=\[\] must be moments"),
        ({"occupancy_times": (0.0, -1.0)}, "must be moments of at least 0 s"),
        ({"occupancy_positive_weight": 0.0}, "model.occupancy_positive_weight=0.0"),
        ({"front_size": (0, 100)}, r"model.front_size=\[0, 100\] must be a height and a width"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MultiSensorVLAConfig(**fields)


@pytest.mark.parametrize("sensors", [(), ("imu",), ("lidar",), ("cameras",)])
def test_sensors_learn_what_they_can_be_taught(sensors):
    """A config of all sensors may be trained with any of them."""
    weights = {"occupancy_weight": 1.0, "road_weight": 1.0, "light_weight": 1.0, "brake_threshold": 0.5}
    case = driving(sensors=sensors, front_size=(24, 40), **weights)
    policy = case.build()
    sample = laws.random_sample(training_windows(policy), case.shapes, rows=2, body=case.body)
    mapped, front = {"lidar", "cameras"} & set(sensors), "cameras" in sensors
    terms = set(policy(sample))
    assert ({"occupancy_loss", "road_loss"} <= terms) == bool(mapped)
    assert ("light_loss" in terms) == front
    assert "action_loss" in terms
    policy.act(sample.context, policy.initial_state(2))
