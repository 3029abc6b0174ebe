"""Observations to one vector for a recurrent state-space model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.normed_mlp import NormedMLP
from tempovla.model.world_model.checks import PICTURE_SHAPE
from tempovla.model.world_model.two_hot import symlog
from tempovla.timeline.keys import STATE_KEY

SMALLEST_PX, DOUBLINGS = 4, 4
"""Side of the smallest feature map of a picture [px], and how often it doubles up to the picture itself."""


class ObservationEncoder(nn.Module):
    """A perceptron for the symlog of the robot's state, a convolutional network for each camera, and one layer on both.

    Args:
        output_dim: size E of the vector.
        state_dim: dimensions of the robot's state; None where it is not read.
        cameras: keys of the pictures, which are 64 px wide and high.
        hidden_dim: width of the perceptron.
        num_layers: of the perceptron.
        channels: of the first convolution; each of the three others has twice as many as the one before.
        state_key: key of the state.
    """

    def __init__(
        self,
        output_dim: int,
        state_dim: int | None,
        cameras: Sequence[str],
        hidden_dim: int,
        num_layers: int,
        channels: int,
        state_key: str = STATE_KEY,
    ) -> None:
        super().__init__()
        self.cameras, self.state_key, self.state_dim = tuple(cameras), state_key, state_dim
        widths = (hidden_dim,) * num_layers
        self.state = None if state_dim is None else NormedMLP((state_dim, *widths, output_dim))
        self.pictures = nn.ModuleList(_convolutions(channels, output_dim) for _ in self.cameras)
        self.norm = nn.Sequential(nn.LayerNorm(output_dim), nn.Mish())

    @property
    def keys(self) -> tuple[str, ...]:
        """The streams that are read."""
        return (*(() if self.state is None else (self.state_key,)), *self.cameras)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one step of each stream that is read."""
        state: dict[str, tuple[int, ...]] = {} if self.state_dim is None else {self.state_key: (self.state_dim,)}
        return state | dict.fromkeys(self.cameras, PICTURE_SHAPE)

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return vectors (..., E) of values (..., *F) by stream."""
        parts = []
        if self.state is not None:
            parts.append(self.state(symlog(values[self.state_key].float())))
        for camera, network in zip(self.cameras, self.pictures, strict=True):
            pictures = values[camera]
            scaled = in_dtype_of(self, pictures.flatten(0, -4).float() / 255.0 - 0.5)
            parts.append(network(scaled).unflatten(0, pictures.shape[:-3]))
        return self.norm(torch.stack(parts).sum(dim=0))


def _convolutions(channels: int, output_dim: int) -> nn.Sequential:
    """From pictures (N, 3, 64, 64) to (N, E)."""
    layers: list[nn.Module] = []
    before = 3
    for index in range(DOUBLINGS):
        width = channels * 2**index
        layers += [nn.Conv2d(before, width, 4, 2, 1), nn.GroupNorm(1, width), nn.Mish()]
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * SMALLEST_PX**2, output_dim))
