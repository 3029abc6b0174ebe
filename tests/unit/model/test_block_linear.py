"""The block-diagonal linear layer against one with a full matrix."""

from __future__ import annotations

import torch

from tempovla.model.layers.block_linear import BlockLinear


def test_it_is_a_linear_layer_whose_matrix_is_zero_outside_its_blocks():
    torch.manual_seed(0)
    layer = BlockLinear(6, 4, 2)
    torch.nn.init.normal_(layer.bias)
    full = torch.block_diag(*layer.weight)
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(layer(x), x @ full + layer.bias.flatten())


def test_a_block_does_not_see_the_others():
    layer = BlockLinear(6, 4, 2)
    x = torch.randn(1, 6)
    other = x.clone()
    other[:, 3:] += 1.0
    first, second = layer(x), layer(other)
    torch.testing.assert_close(first[:, :2], second[:, :2], rtol=0, atol=0)
    assert not torch.equal(first[:, 2:], second[:, 2:])
