import torch

from tempovla.model.sensor.farthest import at_once, in_slabs, sample
from tempovla.model.sensor.points import canonical_order


def row(number: int = 500) -> torch.Tensor:
    """Points (N, 3) in their canonical order: dense in the middle, with some that lie in the same place."""
    points = torch.randn(1, number, 3, generator=torch.Generator().manual_seed(0)) ** 3
    points[:, 100:120] = points[:, 120:140]
    return points[0, canonical_order(points)[0]]


def test_looking_at_few_points_chooses_what_looking_at_all_of_them_does():
    points = row()
    for given in (points, points.double(), torch.round(points)):
        axes = given.T[None].contiguous()
        expected = at_once(axes, torch.tensor([500]), 120)
        assert in_slabs(axes[0].numpy(), 120).tolist() == expected[0].tolist()


def test_rows_of_different_numbers_are_sampled_alike_by_both():
    points = torch.stack([row(), row()])
    points[1, 30:] = 0.0
    number = torch.tensor([500, 30])
    found = sample(points, number, 50)
    assert torch.equal(found, at_once(points.transpose(1, 2).contiguous(), number, 50))
    assert found[1, :30].sort().values.tolist() == list(range(30))
    assert sample(points, torch.tensor([0, 0]), 4).tolist() == [[0] * 4] * 2
