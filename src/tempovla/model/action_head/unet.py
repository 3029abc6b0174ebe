"""A 1-D U-Net over the steps of a chunk, conditioned by scale and shift (Chi et al., 2023, Diffusion Policy)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head.base import mean_token
from tempovla.model.action_head.decoder import zero_linear
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.layers.mlp import mlp

KERNEL = 5


class ConditionalBlock(nn.Module):
    """Two convolutions over time with a residual; the condition scales and shifts what is between them (FiLM)."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, outputs), _convolution(outputs, outputs)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition_dim, 2 * outputs))
        self.residual = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, outputs, T)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        return self.second(self.first(x) * (1.0 + scale) + shift) + self.residual(x)


class Level(nn.Module):
    """Two blocks of the same number of steps."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.first = ConditionalBlock(inputs, outputs, condition_dim)
        self.second = ConditionalBlock(outputs, outputs, condition_dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map (B, inputs, T) to (B, outputs, T)."""
        return self.second(self.first(x, condition), condition)


class ConditionalUnet1d(nn.Module):
    """Maps noisy actions and a time to the head's prediction, given the mean feature.

    Args:
        input_dim: size of a feature.
        action_dim: dimensions A of an action.
        hidden_dim: width of the first level, doubled at every further one.
        num_levels: levels, each of half the steps of the one above.
    """

    def __init__(self, input_dim: int, action_dim: int, hidden_dim: int, num_levels: int) -> None:
        super().__init__()
        widths = [hidden_dim * 2**level for level in range(num_levels)]
        self.multiple = 2 ** (num_levels - 1)
        self.hidden_dim = hidden_dim
        self.features = nn.Sequential(nn.LayerNorm(input_dim), nn.Linear(input_dim, hidden_dim))
        self.time = mlp((hidden_dim, 4 * hidden_dim, hidden_dim))
        condition_dim = 2 * hidden_dim
        falling, rising = zip([action_dim, *widths], widths, strict=False), widths[-2::-1]
        self.down = nn.ModuleList(Level(inputs, outputs, condition_dim) for inputs, outputs in falling)
        self.up = nn.ModuleList(Level(2 * width, width, condition_dim) for width in rising)
        self.shrink = nn.ModuleList(nn.Conv1d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.grow = nn.ModuleList(nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1) for width in rising)
        self.middle = ConditionalBlock(widths[-1], widths[-1], condition_dim)
        self.last = _convolution(hidden_dim, hidden_dim)
        self.out = zero_linear(hidden_dim, action_dim)

    def condition(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Return the condition of `forward` from features (B, L, input_dim); it is the same at every time."""
        return self.features(mean_token(tokens, valid))

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return (B, H, A) from actions (B, H, A) and time (B,) in [0, 1]."""
        steps = x.shape[1]
        embedded = in_dtype_of(self, sinusoidal_embedding(time, self.hidden_dim))
        condition = torch.cat([self.time(embedded), condition], dim=1)
        hidden = F.pad(in_dtype_of(self, x).mT, (0, -steps % self.multiple))
        skipped = []
        for level, shrink in zip(self.down, self.shrink, strict=False):  # the lowest level has nothing below it
            skipped.append(level(hidden, condition))
            hidden = shrink(skipped[-1])
        hidden = self.middle(self.down[-1](hidden, condition), condition)
        for level, grow in zip(self.up, self.grow, strict=True):
            hidden = level(torch.cat([grow(hidden), skipped.pop()], dim=1), condition)
        return self.out(self.last(hidden)[..., :steps].mT)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    groups = math.gcd(8, outputs)
    return nn.Sequential(nn.Conv1d(inputs, outputs, KERNEL, padding="same"), nn.GroupNorm(groups, outputs), nn.Mish())
