import pytest
import torch
from torch import Tensor

from tempovla.model.sensor.points import ball_query, canonical_order, farthest_point_sampling, gather_points


def cloud(rows: int = 2, number: int = 60, seed: int = 0) -> Tensor:
    return torch.randn(rows, number, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chosen_by_loops(points: Tensor, count: int) -> list[int]:
    """Farthest-point sampling of (N, 3) without ties, as its definition has it."""
    chosen = [int(points.norm(dim=1).argmax())]
    while len(chosen) < count:
        distances = [min(float((each - points[other]).norm()) for other in chosen) for each in points]
        chosen.append(max(range(len(points)), key=distances.__getitem__))
    return chosen


def test_samples_are_those_of_the_definition():
    points = cloud()
    found = farthest_point_sampling(points, 12)
    assert found.tolist() == [chosen_by_loops(row, 12) for row in points]


def test_samples_depend_neither_on_order_nor_on_padding():
    points = torch.stack(torch.meshgrid(*[torch.arange(4.0)] * 3, indexing="ij"), dim=-1).view(1, -1, 3)
    expected = gather_points(points, farthest_point_sampling(points, 20))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    moved = points[:, order]
    assert torch.equal(gather_points(moved, farthest_point_sampling(moved, 20)), expected)
    padded = torch.cat([torch.full((1, 3, 3), torch.nan), moved, torch.full((1, 5, 3), 1e9)], dim=1)
    valid = torch.zeros(1, 72, dtype=torch.bool)
    valid[:, 3:67] = True
    assert torch.equal(gather_points(padded, farthest_point_sampling(padded, 20, valid)), expected)


def test_a_small_cloud_gives_all_its_points_before_it_repeats_any():
    points, valid = cloud(3, 6), torch.ones(3, 6, dtype=torch.bool)
    valid[1, 2:] = False
    valid[2] = False
    found = farthest_point_sampling(points, 8, valid)
    assert sorted(found[0, :6].tolist()) == list(range(6))
    assert sorted(found[1, :2].tolist()) == [0, 1]
    assert valid[1][found[1]].all()
    assert found[2].tolist() == [0] * 8


def test_nothing_to_choose_is_refused():
    with pytest.raises(ValueError, match=r"count=0"):
        farthest_point_sampling(cloud(), 0)
    with pytest.raises(ValueError, match=r"\(1, 0, 3\)"):
        farthest_point_sampling(torch.zeros(1, 0, 3), 4)


def test_the_order_is_that_of_the_coordinates_and_padding_comes_last():
    points = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 5.0, 1.0], [0.0, 5.0, 0.0], [-9.0, 0.0, 0.0], [0.0, 2.0, 7.0]]])
    valid = torch.tensor([[True, True, True, False, True]])
    assert canonical_order(points, valid).tolist() == [[4, 2, 1, 0, 3]]


def test_neighbours_are_the_nearest_within_the_radius():
    points, centres = cloud(2, 200), cloud(2, 15, seed=1)
    valid = torch.rand(2, 200, generator=torch.Generator().manual_seed(2)) > 0.3
    there = torch.ones(2, 15, dtype=torch.bool)
    there[0, 3] = False
    index, near = ball_query(points, centres, 0.9, 7, valid, there)
    for row in range(2):
        distances = (centres[row, :, None] - points[row]).norm(dim=2).masked_fill(~valid[row], torch.inf)
        for centre in range(15):
            order = [each for each in distances[centre].argsort().tolist() if distances[centre, each] <= 0.9][:7]
            order = order if there[row, centre] else []
            assert index[row, centre].tolist() == order + [0] * (7 - len(order))
            assert near[row, centre].tolist() == [True] * len(order) + [False] * (7 - len(order))
    assert near.sum() > 30


def test_neighbours_depend_neither_on_order_nor_on_padding():
    points = torch.stack(torch.meshgrid(*[torch.arange(4.0)] * 3, indexing="ij"), dim=-1).view(1, -1, 3)
    centres = points[:, ::7]
    index, near = ball_query(points, centres, 1.5, 4)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([points[:, order], torch.full((1, 5, 3), torch.nan)], dim=1)
    again, near_again = ball_query(padded, centres, 1.5, 4, torch.arange(69)[None] < 64)
    assert torch.equal(near_again, near)
    assert torch.equal(gather_points(padded, again), gather_points(points, index))


def test_fewer_points_than_neighbours_leave_places_empty():
    index, near = ball_query(torch.zeros(1, 2, 3), torch.zeros(1, 1, 3), 1.0, 5)
    assert near.tolist() == [[[True, True, False, False, False]]]
    assert index.tolist() == [[[0, 1, 0, 0, 0]]]


@pytest.mark.parametrize(("radius", "most"), [(0.0, 3), (float("nan"), 3), (1.0, 0)])
def test_a_neighbourhood_of_nothing_is_refused(radius, most):
    with pytest.raises(ValueError, match="must be above 0"):
        ball_query(cloud(), cloud(), radius, most)
