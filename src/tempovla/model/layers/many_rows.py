"""Perceptrons applied to many rows without a gradient, as a search does: the same numbers from faster kernels.

On a CPU, PyTorch's own product of float32 matrices and its Mish are slow. Products in oneDNN's layout and a Mish with
one exponential instead of three functions give the same up to rounding in half of the time. Rows are taken in blocks
that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.layers.activation import Activation
from tempovla.model.layers.normed_mlp import EnsembleMLP, NormedMLP

Function = Callable[[Tensor], Tensor]
Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Weight and bias of a product, in oneDNN's layout; scale and shift of the LayerNorm behind it, or None."""

BLOCK = 512
"""Rows of a block: half a megabyte of 256 numbers each."""


def for_many_rows(network: NormedMLP | EnsembleMLP) -> Function:
    """Return a function that computes what `network` does in evaluation mode, without a gradient.

    It holds the weights of now: make another one after they have changed. Where the faster kernels do not apply, it is
    the network itself: on accelerators, with gradients, under autocast, in training mode with dropout, or in another
    type than float32.
    """
    drops = network.dropout.p if isinstance(network, NormedMLP) else network.dropout
    if not _applies(next(network.parameters())) or (network.training and drops > 0):
        return network
    activation = IN_PLACE[network.activation]
    if isinstance(network, NormedMLP):
        layers = _layers_of(network)
        return lambda x: _in_blocks(layers, activation, x)
    members = [_layers_of_member(network, index) for index in range(len(network.weights[0]))]
    return lambda x: torch.stack([_in_blocks(layers, activation, x) for layers in members])


def mish_(x: Tensor) -> Tensor:
    """Return Mish of `x`, whose memory is used.

    x * tanh(log(1 + e^x)) = x - x / (1 + n), where n = e^x + e^(2x) / 2; where n overflows, it is x.
    """
    share = x.exp()
    share.addcmul_(share, share, value=0.5).add_(1.0)
    return x.addcdiv_(x, share, value=-1.0)


IN_PLACE: dict[Activation, Function] = {"mish": mish_, "silu": partial(F.silu, inplace=True)}
"""By name, the activation of a tensor whose memory is used."""


def _layers_of(network: NormedMLP) -> list[Layer]:
    products = [(linear.weight, linear.bias) for linear in network.linears]
    return _joined(products, [(norm.weight, norm.bias) for norm in network.norms])


def _layers_of_member(network: EnsembleMLP, index: int) -> list[Layer]:
    weights = [weight[index].t().contiguous() for weight in network.weights]
    affine = [(scale[index, 0], shift[index, 0]) for scale, shift in zip(network.scales, network.shifts, strict=True)]
    return _joined(list(zip(weights, (bias[index, 0] for bias in network.biases), strict=True)), affine)


def _joined(products: Sequence[tuple[Any, Any]], affine: Sequence[tuple[Any, Any]]) -> list[Layer]:
    """Layers of weights and biases, and of scales and shifts behind all but the last of them."""
    pairs = zip(products, [*affine, (None, None)], strict=True)
    return [(weight.to_mkldnn(), bias.to_mkldnn(), scale, shift) for (weight, bias), (scale, shift) in pairs]


def _in_blocks(layers: list[Layer], activation: Function, x: Tensor) -> Tensor:
    """Return (..., sizes[-1]) from (..., sizes[0])."""
    parts = [_in_layers(layers, activation, part) for part in x.reshape(-1, x.shape[-1]).split(BLOCK)]
    found = parts[0] if len(parts) == 1 else torch.cat(parts)
    return found.view(*x.shape[:-1], found.shape[-1])


def _in_layers(layers: list[Layer], activation: Function, x: Tensor) -> Tensor:
    """Return (rows, sizes[-1]) from (rows, sizes[0])."""
    for weight, bias, scale, shift in layers:
        x = F.linear(x.to_mkldnn(), weight, bias).to_dense()
        if scale is not None:
            x = activation(F.layer_norm(x, x.shape[-1:], scale, shift))
    return x


def _applies(example: Tensor) -> bool:
    """Whether the faster kernels apply to tensors such as this one."""
    return (
        example.device.type == "cpu"
        and example.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )
