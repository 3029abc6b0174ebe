import pytest
import torch

from tempovla.model.sensor.neighbours import ball_query
from tempovla.model.sensor.points import gather_points


def cloud(rows: int = 2, number: int = 60, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, number, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_the_result_is_the_same_in_parts(monkeypatch):
    points, centres = cloud(2, 200), cloud(2, 15, seed=1)
    expected = ball_query(points, centres, 0.9, 7)
    monkeypatch.setattr("tempovla.model.sensor.neighbours._PAIRS", 100)
    assert all(
        torch.equal(mine, whole) for mine, whole in zip(ball_query(points, centres, 0.9, 7), expected, strict=True)
    )


def test_places_far_away_and_on_the_edges_of_columns_are_exact():
    x = torch.tensor([1e30, -1e30, 0.0, 1.0, 2.0, -1.0, torch.inf], dtype=torch.float64)
    points = torch.stack([x, torch.zeros(7), torch.zeros(7)], dim=1)[None]
    index, near = ball_query(points, points, 1.0, 4)
    assert [row[:n].tolist() for row, n in zip(index[0], near[0].sum(dim=1), strict=True)] == [
        *([0], [1], [2, 5, 3], [3, 2, 4], [4, 3], [5, 2], []),
    ]
