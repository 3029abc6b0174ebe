import pytest
import torch

from tempovla.model.sensor.depth_encoder import DepthEncoder


def encoder(**options) -> DepthEncoder:
    torch.manual_seed(0)
    return DepthEncoder(10, hidden_dim=4, **options)


def depth() -> torch.Tensor:
    return torch.rand(2, 1, 32, 50, generator=torch.Generator().manual_seed(0)) * 20 + 1


def test_channels_may_come_first_or_last():
    net, given = encoder(), depth()
    assert net(given).shape == (2, 10)
    assert torch.equal(net(given.movedim(1, 3)), net(given))
    assert net.tokens(given).features.shape == (2, 2 * 4, 10)


def test_what_is_no_reading_changes_nothing():
    net, given = encoder(max_depth=15.0), depth()
    missing = torch.rand(given.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = net(given.masked_fill(missing, 0.0))
    for value in (torch.nan, torch.inf, -1.0, 99.0):
        assert torch.equal(net(given.masked_fill(missing, value)), expected)


def test_patches_without_a_reading_are_masked():
    net, given = encoder(), depth()
    given[0, :, :16, :16] = 0.0
    given[1] = 0.0
    tokens = net.tokens(given)
    assert tokens.valid.tolist() == [[False] + [True] * 7, [False] * 8]
    assert not tokens.features[~tokens.valid].any()
    out = net(given)
    assert torch.equal(out[1], net.fc.bias)
    out.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"depth \(2, 3, 4, 5\)"):
        encoder()(torch.zeros(2, 3, 4, 5))
    with pytest.raises(ValueError, match="max_depth=0"):
        DepthEncoder(max_depth=0)
