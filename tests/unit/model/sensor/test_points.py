import sys

import pytest
import torch
from torch import Tensor

from tempovla.model.sensor.encoder_config import PointCloudConfig
from tempovla.model.sensor.lidar_encoder import PointCloudEncoder
from tempovla.model.sensor.points import canonical_order, farthest_point_sampling, gather_points


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


def test_the_faster_package_makes_the_same_choices():
    pytest.importorskip("torch_quickfps", reason="torch-quickfps is not installed: pip install -e '.[points]'")
    points, valid = cloud(3, 300).float(), torch.rand(3, 300, generator=torch.Generator().manual_seed(1)) > 0.3
    valid[1, 0] = False
    for given in (None, valid):
        hidden = points if given is None else points.where(given[..., None], torch.nan)
        found = farthest_point_sampling(hidden, 40, given, backend="quickfps")
        assert torch.equal(found, farthest_point_sampling(points, 40, given))
    few = torch.arange(300).expand(3, -1) < 5
    found = farthest_point_sampling(points, 40, few, backend="quickfps")
    assert torch.equal(found, farthest_point_sampling(points, 40, few))


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_quickfps", None)
    with pytest.raises(ValueError, match=r"needs 'torch-quickfps'; install it with: .*points"):
        PointCloudEncoder(config=PointCloudConfig(sampling="quickfps"))
    with pytest.raises(ValueError, match="sampling='magic' is unknown"):
        PointCloudConfig(sampling="magic")


def test_nothing_to_choose_is_refused():
    with pytest.raises(ValueError, match=r"count=0"):
        farthest_point_sampling(cloud(), 0)
    with pytest.raises(ValueError, match=r"\(1, 0, 3\)"):
        farthest_point_sampling(torch.zeros(1, 0, 3), 4)


def test_the_order_is_that_of_the_coordinates_and_padding_comes_last():
    points = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 5.0, 1.0], [0.0, 5.0, 0.0], [-9.0, 0.0, 0.0], [0.0, 2.0, 7.0]]])
    valid = torch.tensor([[True, True, True, False, True]])
    assert canonical_order(points, valid).tolist() == [[4, 2, 1, 0, 3]]
