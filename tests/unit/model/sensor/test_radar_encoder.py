import pytest
import torch

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.radar_encoder import RadarEncoder, RadarPillars


def targets() -> torch.Tensor:
    drawn = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn * torch.tensor([20.0, 10.0, 5.0, 5.0, 10.0])


def encoder(**options) -> RadarEncoder:
    torch.manual_seed(0)
    return RadarEncoder(12, hidden_dim=8, **options).double()


def test_targets_become_features_that_depend_neither_on_order_nor_on_padding():
    net, given = encoder(), targets()
    expected = net(given)
    assert expected.shape == (2, 12)
    more = torch.cat([given.flip(1), torch.full((2, 3, 5), torch.nan, dtype=torch.float64), given[:, :1] + 9], dim=1)
    found = net(more, (torch.arange(11) < 10).expand(2, -1))
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_every_target_has_a_token_where_it_is():
    tokens = encoder().tokens(targets(), torch.arange(7).expand(2, -1) != 3)
    assert tokens.features.shape == (2, 7, 12)
    assert not tokens.features[:, 3].any()
    assert torch.equal(tokens.positions[0, 1], torch.cat([targets()[0, 1, :2], torch.zeros(1)]))


def test_no_target_gives_the_bias_and_finite_gradients():
    net = encoder()
    out = net(torch.full((2, 4, 5), torch.nan, dtype=torch.float64))
    assert torch.equal(out, net.fc.bias.expand(2, -1))
    assert torch.equal(net(targets()[:, :0]), out)
    out.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_maps_become_features_each_by_itself():
    net = encoder(map_channels=2)
    maps = torch.randn(3, 2, 33, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = net(maps)
    assert found.shape == (3, 12)
    assert torch.allclose(found[1:2], net(maps[1:2]), rtol=0, atol=1e-12)


def test_readings_of_the_other_kind_are_refused():
    with pytest.raises(ValueError, match=r"map_channels=2.*give maps"):
        encoder(map_channels=2)(targets())
    with pytest.raises(ValueError, match=r"need map_channels=None; .* build the encoder with map_channels=2"):
        encoder()(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"need map_channels=None$"):
        encoder()(targets()[..., :4])


def test_targets_appear_in_their_cells():
    net = RadarPillars(BEVGridConfig(0.0, 4.0, -2.0, 2.0), 6)
    given = torch.tensor([[[3.5, 1.5, 1.0, 0.0, 5.0], [0.5, -1.5, 1.0, 0.0, 5.0]]])
    found = net(given, torch.tensor([[True, False]]))
    assert found.features.shape == (1, 6, 4, 4)
    assert found.occupied.nonzero().tolist() == [[0, 0, 0]]
    with pytest.raises(ValueError, match=r"targets \(1, 2, 4\) of radars must be \(B, N, 5\)"):
        net(given[..., :4])
