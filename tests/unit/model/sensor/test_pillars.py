import pytest
import torch

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.pillars import PillarEncoder

GRID = BEVGridConfig(x_min=0.0, x_max=4.0, y_min=-2.0, y_max=2.0, resolution=1.0)


def pillars(**options) -> PillarEncoder:
    torch.manual_seed(0)
    return PillarEncoder(GRID, 6, **options).double()


def points(number: int = 30) -> torch.Tensor:
    unit = torch.rand(2, number, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return unit * torch.tensor([4.0, 4.0, 2.0, 1.0]) - torch.tensor([0.0, 2.0, 0.0, 0.0])


def test_a_point_appears_in_its_cell_alone():
    found = pillars()(torch.tensor([[[3.5, 1.5, 0.0, 0.3]], [[0.2, -1.8, 0.0, 0.3]]], dtype=torch.float64))
    assert found.features.shape == (2, 6, 4, 4)
    assert found.occupied.nonzero().tolist() == [[0, 0, 0], [1, 3, 3]]
    assert not found.features.movedim(1, -1)[~found.occupied].any()
    assert found.features.movedim(1, -1)[found.occupied].any(dim=1).all()


def test_a_cell_holds_the_largest_values_over_its_points():
    net, cloud = pillars(), points()
    found = net(cloud)
    row, column = 1, 2
    inside = ((4 - cloud[0, :, 0]).floor() == row) & ((2 - cloud[0, :, 1]).floor() == column)
    own = cloud[0, inside]
    offsets = own[:, :3] - own[:, :3].mean(dim=0)
    centre = torch.tensor([4 - row - 0.5, 2 - column - 0.5], dtype=torch.float64)
    described = torch.cat([own[:, :3] / net.scale, own[:, 3:], offsets, own[:, :2] - centre], dim=1)
    expected = net.mlp(described).amax(dim=0)
    assert len(own) > 1
    assert torch.allclose(found.features[0, :, row, column], expected, rtol=0, atol=1e-12)


def test_neither_order_nor_padding_nor_points_outside_change_anything():
    net, cloud = pillars(), points()
    expected = net(cloud)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    extra = torch.tensor([[9.0, 0, 0, 0], [1.0, 0, 99.0, 0], [torch.nan, 0, 0, 0], [1.0, 0, 0, 0]], dtype=torch.float64)
    more = torch.cat([cloud[:, order], extra.expand(2, -1, -1)], dim=1)
    found = net(more, (torch.arange(34) < 33).expand(2, -1))
    assert torch.equal(found.occupied, expected.occupied)
    assert torch.allclose(found.features, expected.features, rtol=0, atol=1e-12)


def test_an_empty_cloud_is_an_empty_map_with_finite_gradients():
    net = pillars()
    found = net(torch.full((2, 5, 4), torch.nan, dtype=torch.float64))
    assert not found.features.any()
    assert not found.occupied.any()
    assert torch.equal(net(points()[:, :0]).features, found.features)
    found.features.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="position_dim=4"):
        pillars(position_dim=4)
    with pytest.raises(ValueError, match="have 3 numbers each, not 4"):
        pillars()(points()[..., :3])
    with pytest.raises(ValueError, match=r"valid \(2, 9\)"):
        pillars()(points(), torch.ones(2, 9, dtype=torch.bool))
