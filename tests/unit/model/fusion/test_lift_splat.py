import math

import pytest
import torch

from tempovla.model.fusion.bev_config import LiftConfig
from tempovla.model.fusion.lift_splat import LiftSample, LiftSplat, build_lift
from tempovla.model.fusion.point_depth import projected_depth
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import cell_indices

GRID = BEVGridConfig(x_min=-20.0, x_max=20.0, y_min=-20.0, y_max=20.0, resolution=2.0)
HEIGHT, WIDTH, STRIDE = 64, 96, 8
YAWS = (0.0, 70.0, -120.0)
KINDS = ["splat", "sample"]


def rig(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Intrinsics (1, 3, 3, 3) and poses (1, 3, 4, 4) of three cameras, of which two overlap."""
    intrinsics = torch.tensor([[60.0, 0.0, 47.0], [0.0, 62.0, 30.0], [0.0, 0.0, 1.0]], dtype=dtype)
    poses = []
    for yaw in map(math.radians, YAWS):
        pose = torch.eye(4, dtype=dtype)
        pose[:3, 0] = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0], dtype=dtype)
        pose[:3, 1] = torch.tensor([0.0, 0.0, -1.0], dtype=dtype)
        pose[:3, 2] = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0], dtype=dtype)
        pose[:3, 3] = torch.tensor([math.cos(yaw), math.sin(yaw), 1.5], dtype=dtype)
        poses.append(pose)
    return intrinsics.expand(1, 3, 3, 3), torch.stack(poses)[None]


def features(seed: int = 0) -> torch.Tensor:
    size = (1, 3, 6, HEIGHT // STRIDE, WIDTH // STRIDE)
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lift(kind: str, **options):
    torch.manual_seed(0)
    config = LiftConfig(kind, 5, depth_bins=16, min_depth=2.0, max_depth=18.0, heights=(0.0, 1.0), **options)
    return build_lift(GRID, 6, config, STRIDE).double()


def seen_by(point: torch.Tensor, camera: int) -> tuple[float, float, float]:
    """Column and row [px], and depth [m], of a point (3,) in a camera of the rig."""
    intrinsics, poses = rig()
    local = torch.linalg.inv(poses[0, camera]) @ torch.cat([point, torch.ones(1, dtype=point.dtype)])
    column, row, depth = (intrinsics[0, camera] @ local[:3]).tolist()
    return column / depth, row / depth, depth


@pytest.mark.parametrize("x_y", [(9.0, 1.0), (15.0, -3.0), (3.0, 13.0), (-5.0, -7.0)])
def test_splat_puts_a_feature_of_known_depth_into_the_cell_of_its_point(x_y):
    net, point = lift("splat"), torch.tensor([*x_y, 1.2], dtype=torch.float64)
    camera = min(
        range(3), key=lambda each: abs(math.remainder(math.radians(YAWS[each]) - math.atan2(*x_y[::-1]), math.tau))
    )
    column, row, depth = seen_by(point, camera)
    place = (0, camera, int(row // STRIDE), int(column // STRIDE))
    given = torch.zeros(1, 3, 6, HEIGHT // STRIDE, WIDTH // STRIDE, dtype=torch.float64)
    given[place[0], place[1], :, place[2], place[3]] = 1.0
    known = torch.zeros(1, 3, HEIGHT // STRIDE, WIDTH // STRIDE, dtype=torch.float64)
    known[place] = depth
    empty = net(torch.zeros_like(given), *rig(), depth=known).features
    changed = (net(given, *rig(), depth=known).features - empty).abs().sum(dim=1)[0]
    cell = int(cell_indices(GRID, point)[0])
    assert changed.view(-1)[cell] > 0.5 * changed.sum()
    assert changed.count_nonzero() == 1


def test_splat_keeps_what_it_puts_into_the_grid():
    net = lift("splat")
    with torch.no_grad():
        for layer in (net.depth, net.content):
            layer.weight.zero_()
        net.content.bias.fill_(1.0)
        net.depth.bias.zero_()
        found = net(features(), *rig())
    points = net.frustum(*rig(), (HEIGHT // STRIDE, WIDTH // STRIDE))
    _, inside = cell_indices(GRID, points)
    assert found.features[0, 0].sum() == pytest.approx(float(inside.sum()) / 16)
    assert torch.equal(found.occupied, found.features[:, 0] > 0)


@pytest.mark.parametrize("x_y", [(9.0, 1.0), (15.0, -3.0), (3.0, 13.0), (-5.0, -7.0)])
def test_sample_looks_at_the_feature_that_shows_the_middle_of_a_cell(x_y):
    net = lift("sample")
    places, seen = net.project(*rig(), (HEIGHT // STRIDE, WIDTH // STRIDE))
    cell = int(cell_indices(GRID, torch.tensor(x_y))[0])
    for camera in range(3):
        column, row, depth = seen_by(torch.tensor([*x_y, 1.0], dtype=torch.float64), camera)
        index = GRID.num_cells + cell  # the second height is 1 m
        visible = depth > 0.1 and 0 <= column <= WIDTH and 0 <= row <= HEIGHT
        assert bool(seen[0, camera, index]) == visible
        if visible:
            expected = (column / STRIDE, row / STRIDE)
            assert places[0, camera, index].tolist() == pytest.approx(expected, abs=1e-9)
    assert seen[0, :, GRID.num_cells + cell].any()


def test_sample_interpolates_between_features_and_averages_over_cameras():
    net, given = lift("sample"), features()
    places, seen = net.project(*rig(), given.shape[-2:])
    with torch.no_grad():
        net.mix.weight.copy_(torch.eye(10, 6))  # the first 5 channels of the lowest height
        net.mix.weight[5:].zero_()
    where = torch.stack(
        [2 * places[0, ..., 0] / given.shape[-1] - 1, 2 * places[0, ..., 1] / given.shape[-2] - 1], dim=-1
    )
    every = torch.nn.functional.grid_sample(given[0], where[:, None], padding_mode="border", align_corners=False)[
        :, :, 0
    ]
    number = seen[0].sum(dim=0)
    mean = every.where(seen[0, :, None], 0.0).sum(dim=0) / number.clamp(min=1)
    found = net(given, *rig())
    assert torch.allclose(found.features[0].flatten(1), mean[:5, : GRID.num_cells], rtol=0, atol=1e-9)
    assert (number == 2).any()
    assert torch.equal(found.occupied.flatten(), number.view(2, -1).any(dim=0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_camera_changes_nothing_whatever_it_holds(kind):
    net, (intrinsics, poses) = lift(kind), rig()
    valid = torch.tensor([[True, False, True]])
    expected = net(features(), intrinsics, poses, valid)
    there = valid[..., None, None]
    found = net(
        features().where(there[..., None], torch.nan),
        intrinsics.where(there, torch.nan),
        poses.where(there, torch.nan),
        valid,
    )
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.occupied, expected.occupied)
    assert not torch.equal(net(features(), intrinsics, poses).features, expected.features)
    without = net(features()[:, ::2], intrinsics[:, ::2], poses[:, ::2])
    assert torch.allclose(without.features, expected.features, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_camera_gives_an_empty_map_and_finite_gradients(kind):
    net = lift(kind)
    found = net(features(), *rig(), torch.zeros(1, 3, dtype=torch.bool))
    assert not found.features.any()
    assert not found.occupied.any()
    found.features.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_cameras_changes_nothing(kind):
    net, (intrinsics, poses), order = lift(kind), rig(), torch.tensor([2, 0, 1])
    found = net(features()[:, order], intrinsics[:, order], poses[:, order])
    assert torch.allclose(found.features, net(features(), intrinsics, poses).features, rtol=0, atol=1e-12)


def test_known_depths_have_bins_and_others_have_none():
    net = lift("splat")
    classes, known = net.depth_classes(torch.tensor([2.0, 2.4, 18.0, 0.0, torch.nan, 1.0, 19.0]))
    assert known.tolist() == [True, True, True, False, False, False, False]
    assert classes[:3].tolist() == [0, 0, 15]


def test_options_that_are_none_are_refused():
    assert isinstance(lift("splat"), LiftSplat)
    assert isinstance(lift("sample"), LiftSample)
    for wrong, message in (
        ({"kind": "warp"}, "lift.kind='warp'"),
        ({"depth_bins": 1}, "lift.depth_bins=1"),
        ({"min_depth": 0.0}, "lift.min_depth=0.0"),
        ({"heights": ()}, "lift.heights"),
    ):
        with pytest.raises(ValueError, match=message):
            LiftConfig(**wrong)
    with pytest.raises(ValueError, match=r"poses \(1, 2, 4, 4\)"):
        lift("splat")(features(), rig()[0], rig()[1][:, :2])


def test_points_give_the_depth_of_the_features_that_show_them_and_the_nearest_counts():
    points = torch.tensor([[[9.0, 1.0, 1.2], [13.0, 1.5, 1.05], [-5.0, -7.0, 1.0], [3.0, 13.0, 1.0], [9.0, 1.0, 99.0]]])
    points = torch.cat([points.double(), torch.full((1, 1, 3), torch.nan, dtype=torch.float64)], dim=1)
    valid = torch.tensor([[True, True, True, False, True, False]])
    size = (HEIGHT // STRIDE, WIDTH // STRIDE)
    found = projected_depth(points, valid, *rig(), size, STRIDE)
    assert found.count_nonzero() == 2
    for point, camera in ((points[0, 0], 0), (points[0, 2], 2)):
        column, row, depth = seen_by(point, camera)
        assert float(found[0, camera, int(row // STRIDE), int(column // STRIDE)]) == pytest.approx(depth, abs=1e-9)
    broken = projected_depth(points, valid, *rig(), size, STRIDE, torch.tensor([[False, True, True]]))
    assert broken[:, 0].count_nonzero() == 0
    assert torch.equal(broken[:, 1:], found[:, 1:])


def test_points_of_a_cloud_come_back_to_their_cells_through_their_depths():
    net, point = lift("splat"), torch.tensor([[[9.0, 1.0, 1.2]]], dtype=torch.float64)
    size = (HEIGHT // STRIDE, WIDTH // STRIDE)
    depth = projected_depth(point, torch.ones(1, 1, dtype=torch.bool), *rig(), size, STRIDE)
    there = (depth > 0).to(torch.float64)
    given = there[:, :, None].expand(-1, -1, 6, -1, -1)
    changed = (net(given, *rig(), depth=depth).features - net(0 * given, *rig(), depth=depth).features).abs().sum(dim=1)
    assert int(changed.flatten().argmax()) == int(cell_indices(GRID, point[0, 0])[0])
