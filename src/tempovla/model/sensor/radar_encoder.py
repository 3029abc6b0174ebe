"""Encoders of radar: maps over range and Doppler velocity, and lists of targets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_cells import BEVFeatures
from tempovla.model.sensor.lidar_encoder import PointFeatures
from tempovla.model.sensor.pillars import PillarEncoder
from tempovla.model.sensor.point_net import masked_max, point_mlp, present

TARGET_SCALES = (50.0, 50.0, 10.0, 10.0, 20.0)
"""What the numbers of a target are divided by: positions [m], velocities [m/s] and radar cross-section [dBsm]."""


class RadarEncoder(nn.Module):
    """Features of a radar's reading: of targets x, y, vx, vy and radar cross-section, or of range-Doppler maps.

    Args:
        output_dim: width of the features.
        map_channels: channels of the range-Doppler maps; None where the readings are targets.
        hidden_dim: width of the hidden layers.
    """

    scales: Tensor

    def __init__(self, output_dim: int = 256, map_channels: int | None = None, hidden_dim: int = 64) -> None:
        super().__init__()
        self.output_dim, self.map_channels = output_dim, map_channels
        if map_channels is None:
            self.net = point_mlp((len(TARGET_SCALES), hidden_dim, hidden_dim, output_dim))
        else:
            self.net = _map_net(map_channels, hidden_dim, output_dim)
        self.fc = nn.Linear(output_dim, output_dim)
        self.register_buffer("scales", torch.tensor(TARGET_SCALES), persistent=False)

    def forward(self, reading: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the features (B, output_dim); without any target, they are the bias of the last layer.

        Args:
            reading: targets (B, N, 5), or maps (B, C, H, W).
            valid: (B, N) bool, which targets are there; None where all are. What the others hold changes nothing. Maps
                have none.

        Raises:
            ValueError: if the reading is not of the kind or shape that this encoder was built for.
        """
        if self.map_channels is not None:
            if reading.dim() != 4 or reading.shape[1] != self.map_channels or valid is not None:
                raise ValueError(
                    f"reading {tuple(reading.shape)} of RadarEncoder(map_channels={self.map_channels}): give maps "
                    f"(B, {self.map_channels}, H, W) without `valid`"
                )
            seen = self.net(in_dtype_of(self.net, reading)).mean(dim=(2, 3))
            return self.fc(in_dtype_of(self.fc, seen))
        return self.summary(self.tokens(reading, valid))

    def summary(self, tokens: PointFeatures) -> Tensor:
        """Return the features (B, output_dim) of the readings that tokens were made of."""
        seen = masked_max(tokens.features, tokens.valid, dim=1)
        return self.fc(in_dtype_of(self.fc, seen))

    def tokens(self, targets: Tensor, valid: Tensor | None = None) -> PointFeatures:
        """Return one token (B, N, output_dim) for each target, its position (B, N, 3) at height 0, and which are valid.

        Args:
            targets: (B, N, 5).
            valid: (B, N) bool; None where all are.

        Raises:
            ValueError: if these are no targets, or the encoder is one of maps.
        """
        if self.map_channels is not None or targets.dim() != 3 or targets.shape[-1] != len(TARGET_SCALES):
            raise ValueError(
                f"reading {tuple(targets.shape)} of RadarEncoder(map_channels={self.map_channels}): targets are "
                f"(B, N, 5), and need map_channels=None{_for_maps(targets)}"
            )
        targets, valid = present(targets, valid)
        features = self.net(in_dtype_of(self.net, targets / self.scales))
        positions = nn.functional.pad(targets[..., :2], (0, 1))
        return PointFeatures(torch.where(valid[..., None], features, 0.0), positions, valid)


class RadarPillars(nn.Module):
    """Targets of radars to a bird's eye view.

    Args:
        grid: the cells.
        output_dim: channels C of the map.
        hidden_dim: width of the network's hidden layer.
    """

    scales: Tensor

    def __init__(self, grid: BEVGridConfig, output_dim: int = 64, hidden_dim: int = 32) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.pillars = PillarEncoder(grid, output_dim, len(TARGET_SCALES), position_dim=2, hidden_dim=hidden_dim)
        self.register_buffer("scales", torch.tensor((1.0, 1.0, *TARGET_SCALES[2:])), persistent=False)

    def forward(self, targets: Tensor, valid: Tensor | None = None) -> BEVFeatures:
        """Return the map (B, C, H, W) and which cells hold targets; arguments as of `RadarEncoder`.

        Raises:
            ValueError: if these are no targets.
        """
        if targets.dim() != 3 or targets.shape[-1] != len(TARGET_SCALES):
            raise ValueError(f"targets {tuple(targets.shape)} of radars must be (B, N, {len(TARGET_SCALES)})")
        return self.pillars(targets / self.scales, valid)


def _for_maps(reading: Tensor) -> str:
    """What to do with a reading that looks like range-Doppler maps."""
    if reading.dim() != 4:
        return ""
    channels = reading.shape[1]
    return f"; for range-Doppler maps (B, {channels}, H, W), build the encoder with map_channels={channels}"


def _map_net(channels: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """Three convolutions of stride 2; each norm looks at one map alone."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, hidden_dim), (hidden_dim, hidden_dim), (hidden_dim, output_dim)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(1, outputs), nn.ReLU()]
    return nn.Sequential(*layers)
