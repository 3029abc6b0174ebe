import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tempovla.model.layers.causal_conv import causal_conv


def conv1d(channels=3, d_conv=4, bias=True):
    torch.manual_seed(0)
    return nn.Conv1d(channels, channels, d_conv, groups=channels, bias=bias).double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_values_and_gradients_are_those_of_a_padded_convolution(length, d_conv, bias):
    layer = conv1d(d_conv=d_conv, bias=bias)
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    past = torch.randn(2, d_conv - 1, 3, dtype=torch.float64, requires_grad=True)
    variables = [x, past, *layer.parameters()]
    y, newest = causal_conv(layer, x, past)
    extended = torch.cat([past, x], dim=1)
    expected = F.conv1d(extended.mT, layer.weight, layer.bias, groups=3).mT
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(newest, extended[:, length:])
    weights = torch.randn_like(y)
    gradients = torch.autograd.grad(y, variables, weights)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, variables, weights))


def test_rows_hand_on_their_last_valid_inputs():
    layer = conv1d(d_conv=3)
    x, past = torch.arange(15.0).view(1, 5, 3).repeat(4, 1, 1).double(), -torch.ones(4, 2, 3).double()
    _, newest = causal_conv(layer, x, past, torch.tensor([0, 1, 3, 5]))
    first_channel = newest[:, :, 0].tolist()
    assert first_channel == [[-1, -1], [-1, 0], [3, 6], [9, 12]]


def test_no_inputs_leave_the_past():
    layer, past = conv1d(), torch.randn(2, 3, 3).double()
    y, newest = causal_conv(layer, past[:, :0], past)
    assert y.shape == (2, 0, 3)
    torch.testing.assert_close(newest, past)


def test_the_past_keeps_its_precision_under_autocast():
    layer, past = conv1d().float(), torch.randn(2, 3, 3)
    y, newest = causal_conv(layer, torch.randn(2, 6, 3, dtype=torch.bfloat16), past)
    assert y.dtype == torch.bfloat16
    assert newest.dtype == torch.float32
