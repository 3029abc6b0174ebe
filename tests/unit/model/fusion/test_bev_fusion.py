import pytest
import torch

from tempovla.model.fusion.bev import BEVFusion, BEVTokens
from tempovla.model.fusion.bev_config import BEVFusionConfig

WIDTHS = {"cameras": 6, "lidar": 4, "radar": 3}


def maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2, c, 8, 10, generator=generator, dtype=torch.float64) for name, c in WIDTHS.items()}


def fusion(dropout: float = 0.0) -> BEVFusion:
    torch.manual_seed(0)
    built = BEVFusion(WIDTHS, BEVFusionConfig(5, 1, dropout)).double()
    torch.nn.init.normal_(built.absent)
    return built


def test_maps_of_all_sensors_become_one():
    net, given = fusion(), maps()
    fused = net(given)
    assert fused.shape == (2, 5, 8, 10)
    for name in WIDTHS:
        other = net(given | {name: given[name] + torch.randn(given[name].shape)})
        assert (other - fused).abs().max() > 1e-3


def test_an_absent_sensor_is_one_that_is_there_in_no_row_and_its_map_changes_nothing():
    net, given = fusion(), maps()
    expected = net({name: each for name, each in given.items() if name != "lidar"})
    nothing = {"lidar": torch.zeros(2, dtype=torch.bool)}
    assert torch.equal(net(given | {"lidar": None}), expected)
    assert torch.equal(net(given | {"lidar": torch.full_like(given["lidar"], torch.nan)}, nothing), expected)
    some = net(given, {"lidar": torch.tensor([True, False])})
    assert torch.allclose(some[1], expected[1], rtol=0, atol=1e-12)
    assert torch.allclose(some[0], net(given)[0], rtol=0, atol=1e-12)


def test_no_sensor_in_any_row_gives_finite_numbers_and_gradients():
    net, given = fusion(), maps()
    fused = net(given, {name: torch.zeros(2, dtype=torch.bool) for name in WIDTHS})
    assert fused.isfinite().all()
    fused.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_dropout_of_sensors_follows_from_the_seeds():
    net = fusion(0.5)
    given = {name: each[:1].expand(60, -1, -1, -1) for name, each in maps().items()}
    fused = net(given, seed=torch.arange(60))
    again = net({name: each[50:] for name, each in given.items()}, seed=torch.arange(50, 60))
    assert torch.allclose(fused[50:], again, rtol=0, atol=1e-12)
    assert len({tuple(row.tolist()) for row in fused.flatten(1).mul(1e6).round()}) == 7
    with pytest.raises(ValueError, match="needs `seed`"):
        net(given)
    assert net.eval()(given).shape == (60, 5, 8, 10)


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="give at least one of cameras, lidar, radar"):
        fusion()({"lidar": None})
    with pytest.raises(ValueError, match="and no others"):
        fusion()({"sonar": maps()["radar"]})
    with pytest.raises(ValueError, match="name no sensor"):
        BEVFusion({})
    with pytest.raises(ValueError, match=r"fusion\.modality_dropout=1\.0"):
        BEVFusionConfig(modality_dropout=1.0)
    with pytest.raises(ValueError, match=r"fusion\.output_dim=0"):
        BEVFusionConfig(output_dim=0)


def test_tokens_stand_for_squares_of_the_map_row_by_row():
    net = BEVTokens(1, 3, size=2)
    with torch.no_grad():
        net.project.weight.fill_(1.0)
        net.project.bias.zero_()
        net.position.zero_()
    bev = torch.arange(16.0).view(1, 1, 4, 4)
    assert net(bev)[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    with pytest.raises(ValueError, match=r"size=0"):
        BEVTokens(1, 3, size=0)
