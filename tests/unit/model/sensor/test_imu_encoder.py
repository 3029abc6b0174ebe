import pytest
import torch

from tempovla.model.sensor.imu_encoder import IMUEncoder


def encoder() -> IMUEncoder:
    torch.manual_seed(0)
    return IMUEncoder(8).double()


def readings(number: int = 12) -> torch.Tensor:
    return torch.randn(2, number, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_default_encoder_has_the_shapes_of_its_description():
    assert IMUEncoder(output_dim=128)(torch.zeros(3, 50, 6)).shape == (3, 128)


def test_the_usual_rate_is_that_of_readings_without_times():
    net, given = encoder(), readings()
    times = torch.arange(12, dtype=torch.float64).expand(2, -1) / 100 - 0.12
    assert torch.allclose(net(given, times), net(given), rtol=0, atol=1e-12)


def test_intervals_count_and_the_origin_of_time_does_not():
    net, given = encoder(), readings()
    times = torch.arange(12, dtype=torch.float64).expand(2, -1) / 100
    slow = net(given, 2 * times)
    assert (slow - net(given, times)).abs().max() > 1e-3
    assert torch.allclose(net(given, 2 * times + 5.0), slow, rtol=0, atol=1e-12)


def test_missing_readings_are_passed_over_wherever_they_are():
    net, given = encoder(), readings()
    times = torch.arange(12, dtype=torch.float64).expand(2, -1) / 100
    kept = torch.tensor([1, 2, 5, 6, 9])
    expected = net(given[:, kept], times[:, kept])
    valid = torch.zeros(2, 12, dtype=torch.bool)
    valid[:, kept] = True
    hidden = given.where(valid[..., None], torch.nan)
    assert torch.allclose(net(given, times, valid), expected, rtol=0, atol=1e-12)
    assert torch.allclose(net(hidden, times), expected, rtol=0, atol=1e-12)
    assert torch.allclose(net(hidden, times.where(valid, torch.nan)), expected, rtol=0, atol=1e-12)


def test_no_reading_gives_zeros_and_finite_gradients():
    net, valid = encoder(), torch.tensor([[True] * 12, [False] * 12])
    out = net(readings(), valid=valid)
    assert out[0].any()
    assert not out[1].any()
    assert torch.equal(net(readings()[:, :0]), out[1:].detach().expand(2, -1))
    out.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[\(2, 12, 5\), None, None\]"):
        encoder()(readings()[..., :5])
    with pytest.raises(ValueError, match=r"give `readings\[\.\.\., 1:\], readings\[\.\.\., 0\]`"):
        encoder()(torch.cat([readings(), readings()[..., :1]], dim=-1))
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        encoder()(readings(), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="rate_hz=0"):
        IMUEncoder(rate_hz=0)
