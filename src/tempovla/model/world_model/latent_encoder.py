"""Observations to one latent vector of a world model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tempovla.model.layers.activation import Activation
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.normed_mlp import NormedMLP, SimNorm
from tempovla.model.world_model.checks import PICTURE_SHAPE
from tempovla.model.world_model.running_moments import RunningMoments
from tempovla.timeline import Track
from tempovla.timeline.keys import STATE_KEY


class LatentEncoder(nn.Module):
    """A perceptron for the state and a small convolutional network for each camera; their outputs are added.

    Args:
        latent_dim: size D of the latent vector.
        state_dim: dimensions of the state; None where it is not read.
        cameras: keys of the pictures, which are 64 px wide and high.
        hidden_dim: width of the perceptron.
        channels: of the convolutions.
        group_dim: of the simplicial normalisation.
        state_key: key of the state.
        activation: of the perceptron.
        normalize_state: whether the perceptron reads the state by its running mean and standard deviation.
    """

    def __init__(
        self,
        latent_dim: int,
        state_dim: int | None,
        cameras: Sequence[str],
        hidden_dim: int,
        channels: int,
        group_dim: int,
        state_key: str = STATE_KEY,
        activation: Activation = "mish",
        normalize_state: bool = False,
    ) -> None:
        super().__init__()
        self.cameras, self.state_key, self.state_dim = tuple(cameras), state_key, state_dim
        self.state = (
            None if state_dim is None else NormedMLP((state_dim, hidden_dim, latent_dim), activation=activation)
        )
        self.moments = RunningMoments(state_dim) if normalize_state and state_dim is not None else None
        self.pictures = nn.ModuleList(_convolutions(channels, latent_dim) for _ in self.cameras)
        self.norm = nn.LayerNorm(latent_dim)
        self.simplex = SimNorm(group_dim)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one step of each stream that is read."""
        state: dict[str, tuple[int, ...]] = {} if self.state_dim is None else {self.state_key: (self.state_dim,)}
        return state | dict.fromkeys(self.cameras, PICTURE_SHAPE)

    def forward(self, tracks: Mapping[str, Track], offset: int) -> tuple[Tensor, Tensor]:
        """Return the latent vector (B, D) of one offset, and (B,) bool whether everything that is read was seen."""
        parts, seen = [], []
        if self.state is not None:
            value, valid = tracks[self.state_key].at(offset)
            state = torch.where(valid[:, None], value.float(), 0.0)
            parts.append(self.state(state if self.moments is None else self.moments(state)))
            seen.append(valid)
        for camera, network in zip(self.cameras, self.pictures, strict=True):
            picture, valid = tracks[camera].at(offset)
            parts.append(network(in_dtype_of(network, picture.float() / 255.0 - 0.5)))
            seen.append(valid)
        joined = torch.stack(parts).sum(dim=0)
        return self.simplex(self.norm(joined)), torch.stack(seen).all(dim=0)

    def add_moments(self, tracks: Mapping[str, Track], offset: int) -> None:
        """Take in the states of one offset for the next `update_moments`, if the state is normalised."""
        if self.moments is not None:
            self.moments.add(*tracks[self.state_key].at(offset))

    def update_moments(self) -> None:
        """Move the running moments by what was added since."""
        if self.moments is not None:
            self.moments.update()


def _convolutions(channels: int, latent_dim: int) -> nn.Sequential:
    """From pictures (B, 3, 64, 64) to (B, D)."""
    layers: list[nn.Module] = []
    for index, (kernel, stride) in enumerate(((7, 2), (5, 2), (3, 2), (3, 1))):
        layers += [nn.Conv2d(channels if index else 3, channels, kernel, stride), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Flatten(), nn.Linear(channels * 16, latent_dim))
