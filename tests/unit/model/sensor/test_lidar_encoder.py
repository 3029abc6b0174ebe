import pytest
import torch
from torch import Tensor

from tempovla.model.sensor.encoder_config import PointCloudConfig, SetAbstractionConfig
from tempovla.model.sensor.lidar_encoder import PointCloudEncoder

SINGLE = PointCloudConfig(
    (SetAbstractionConfig(12, (1.0,), (6,), ((8, 8),)), SetAbstractionConfig(4, (3.0,), (6,), ((16,),))), (16, 32)
)
MULTI = PointCloudConfig((SetAbstractionConfig(8, (0.7, 2.0), (4, 8), ((8,), (8, 16))),), (32,))


def cloud(rows: int = 2, number: int = 40) -> Tensor:
    return torch.randn(rows, number, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def encoder(config: PointCloudConfig) -> PointCloudEncoder:
    torch.manual_seed(0)
    return PointCloudEncoder(4, 10, config).double()


def test_the_default_encoder_has_the_shapes_of_its_description():
    out = PointCloudEncoder(input_dim=4, output_dim=512)(cloud(1, 300).float())
    assert out.shape == (1, 512)
    assert out.isfinite().all()


@pytest.mark.parametrize("config", [SINGLE, MULTI], ids=["single scale", "multiple scales"])
def test_neither_order_nor_padding_changes_anything(config):
    net, points = encoder(config), cloud()
    expected = net(points)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(net(points[:, order]), expected, rtol=0, atol=1e-12)
    for hidden in (torch.nan, torch.inf, 1e6):
        padded = torch.cat([points[:, order], torch.full((2, 9, 4), hidden, dtype=torch.float64)], dim=1)
        valid = (torch.arange(49) < 40).expand(2, -1)
        assert torch.allclose(net(padded, valid), expected, rtol=0, atol=1e-12)
    assert torch.allclose(net(padded.where(valid[..., None], torch.nan)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [SINGLE, MULTI], ids=["single scale", "multiple scales"])
def test_an_empty_cloud_gives_the_bias_and_finite_gradients(config):
    net, points = encoder(config), cloud()
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[1] = False
    points[1] = torch.nan
    out = net(points, valid)
    assert torch.equal(out[1], net.fc.bias)
    assert torch.allclose(out[:1], net(points[:1]), rtol=0, atol=1e-12)
    out.square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())
    assert net.levels[0].nets[0].mlp[0].weight.grad.any()


def test_an_empty_batch_of_clouds_alone_has_finite_gradients():
    net = encoder(SINGLE)
    net(cloud(), torch.zeros(2, 40, dtype=torch.bool)).sum().backward()
    assert torch.equal(net(cloud()[:, :0]), net.fc.bias.expand(2, -1))
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())


def test_tokens_stand_at_points_of_the_cloud_and_absent_ones_are_zero():
    net, points = encoder(SINGLE), cloud(2, 3)
    tokens = net.tokens(points, torch.tensor([[True, True, True], [True, False, False]]))
    assert tokens.features.shape == (2, 4, net.token_dim)
    assert tokens.valid.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert torch.equal(tokens.positions[1, 0], points[1, 0, :3])
    assert not tokens.features[~tokens.valid].any()
    assert not tokens.positions[~tokens.valid].any()


def test_points_without_a_height_are_refused():
    with pytest.raises(ValueError, match="input_dim=2"):
        PointCloudEncoder(input_dim=2)
    with pytest.raises(ValueError, match="have 5 numbers each, not 4"):
        PointCloudEncoder()(torch.zeros(1, 3, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "levels.count=0"),
        ({"radii": (1.0, 2.0)}, "the same scales"),
        ({"radii": (0.0,)}, "must be above 0"),
        ({"widths": ((),)}, "at least one layer"),
    ],
)
def test_levels_that_are_none_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SetAbstractionConfig(**{"count": 4, "radii": (1.0,), "max_neighbours": (4,), "widths": ((8,),)} | options)
