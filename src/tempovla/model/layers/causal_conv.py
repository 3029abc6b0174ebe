"""Depthwise causal convolution with an explicit state for the next call."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def causal_conv(conv1d: nn.Conv1d, x: Tensor, past: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Apply a depthwise convolution over time.

    Args:
        conv1d: holds the weight (channels, 1, d_conv) and the bias.
        x: (batch, length, channels) inputs.
        past: (batch, d_conv - 1, channels) the inputs before them, oldest first.
        lengths: (batch,) valid steps of each row, which come first; None means all.

    Returns:
        Outputs like `x`, and the last d_conv - 1 valid inputs in the dtype of `past`.
    """
    length = x.shape[1]
    if length == 0:
        return x, past
    extended = torch.cat([past.to(x.dtype), x], dim=1)
    bias = None if conv1d.bias is None else conv1d.bias.to(x.dtype)
    convolve = _convolve if torch.compiler.is_exporting() else _DepthwiseConv.apply
    y = convolve(extended, conv1d.weight.to(x.dtype), bias)
    if lengths is None:
        newest = extended[:, length:].clone()  # a view would keep the whole sequence in memory
    else:
        index = lengths.unsqueeze(1) + torch.arange(past.shape[1], device=x.device)
        newest = extended.take_along_dim(index.unsqueeze(2), dim=1)
    return y, newest.to(past.dtype)


class _DepthwiseConv(torch.autograd.Function):
    """Convolution with its own backward pass: the one of PyTorch takes several times longer on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        d_conv, length = weight.shape[2], grad.shape[1]
        grad_x = _convolve(F.pad(grad, (0, 0, d_conv - 1, d_conv - 1)), weight.flip(2), None)
        taps = [(x[:, tap : tap + length] * grad).sum((0, 1)) for tap in range(d_conv)]
        return grad_x, torch.stack(taps, dim=1).unsqueeze(1), grad.sum((0, 1)) if ctx.needs_input_grad[2] else None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(batch, length + d_conv - 1, channels) to (batch, length, channels), both with channels innermost in memory."""
    image = x.mT.unsqueeze(2)  # one pixel high: for images, unlike sequences, PyTorch keeps the channels innermost
    return F.conv2d(image, weight.unsqueeze(2), bias, groups=x.shape[2]).squeeze(2).mT
