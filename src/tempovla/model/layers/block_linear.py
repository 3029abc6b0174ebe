"""A linear layer whose matrix is block-diagonal."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BlockLinear(nn.Module):
    """A linear layer each block of whose output reads one block of the input alone.

    Args:
        inputs: size of the input, a multiple of `blocks`.
        outputs: size of the output, a multiple of `blocks`.
        blocks: number G of them; 1 is a plain linear layer.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int = 1) -> None:
        super().__init__()
        assert inputs % blocks == 0, (inputs, blocks)
        assert outputs % blocks == 0, (outputs, blocks)
        self.blocks = blocks
        spread = 1.0 / math.sqrt(inputs // blocks)
        weight = torch.empty(blocks, inputs // blocks, outputs // blocks)
        self.weight = nn.Parameter(nn.init.trunc_normal_(weight, std=spread, a=-2.0 * spread, b=2.0 * spread))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, outputs // blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) from (..., inputs), whose blocks follow one another."""
        rows = x.reshape(-1, self.blocks, x.shape[-1] // self.blocks).transpose(0, 1)
        return torch.baddbmm(self.bias, rows, self.weight).transpose(0, 1).reshape(*x.shape[:-1], -1)
