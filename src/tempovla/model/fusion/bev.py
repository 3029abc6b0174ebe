"""Fusion of maps of several sensors on one grid, and tokens of the fused map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.bev_config import BEVFusionConfig
from tempovla.model.fusion.modality_dropout import drop_modalities
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.camera_backbone import Residual


class BEVEncoder(nn.Module):
    """Residual blocks over a map.

    Args:
        dim: channels C.
        num_blocks: number of blocks.
    """

    def __init__(self, dim: int, num_blocks: int = 2) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Residual(dim) for _ in range(num_blocks)), nn.GroupNorm(1, dim))

    def forward(self, bev: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.blocks(bev)


class BEVFusion(nn.Module):
    """Maps of several sensors to one: a projection of each, their sum, and residual blocks (cf. Liu et al., 2023).

    The sum of projections is a convolution over all maps side by side. In the place of a sensor that is absent, a
    learned vector stands in every cell.

    Args:
        widths: channels of each sensor's map, by the sensor's name.
        config: its options.
    """

    def __init__(self, widths: Mapping[str, int], config: BEVFusionConfig | None = None) -> None:
        super().__init__()
        if not widths:
            raise ValueError("widths={} name no sensor; give the channels of at least one map")
        self.config = config or BEVFusionConfig()
        self.output_dim = self.config.output_dim
        self.sensors = tuple(widths)
        self.project = nn.ModuleDict({name: nn.Conv2d(width, self.output_dim, 1) for name, width in widths.items()})
        self.absent = nn.Parameter(torch.zeros(len(widths), self.output_dim))
        self.encoder = BEVEncoder(self.output_dim, self.config.num_blocks)

    def forward(
        self,
        maps: Mapping[str, Tensor | None],
        present: Mapping[str, Tensor] | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Return the fused map (B, C, H, W).

        Args:
            maps: (B, C_m, H, W) of each sensor, on one grid; a sensor that is None or not named is absent.
            present: (B,) bool of each sensor, in which rows it is there; in all for one that is not named. What the
                maps of other rows hold changes nothing.
            seed: (B,) int64 seeds of the rows, which modality dropout in training needs.

        Raises:
            ValueError: if no sensor is given or one is unknown.
        """
        unknown = sorted(set(maps) - set(self.sensors))
        given = {name: each for name in self.sensors if (each := maps.get(name)) is not None}
        if unknown or not given:
            raise ValueError(f"maps of {sorted(maps)}: give at least one of {', '.join(self.sensors)}, and no others")
        some = next(iter(given.values()))
        rows = torch.ones(some.shape[0], dtype=torch.bool, device=some.device)
        there = torch.stack(
            [(present or {}).get(name, rows) if name in given else ~rows for name in self.sensors], dim=1
        )
        there = drop_modalities(there, self.config.modality_dropout if self.training else 0.0, seed)
        fused = ((~there).to(self.absent.dtype) @ self.absent)[..., None, None]
        for index, name in enumerate(self.sensors):
            if name in given:
                here = there[:, index, None, None, None]
                seen = self.project[name](in_dtype_of(self.project, torch.where(here, given[name], 0.0)))
                fused = fused + torch.where(here, seen, 0.0)
        return self.encoder(fused)


class BEVTokens(nn.Module):
    """A map to g x g tokens with learned positions, row by row from the farthest left.

    Args:
        dim: channels C of the map.
        output_dim: width D of a token.
        size: tokens g along each side.
    """

    def __init__(self, dim: int, output_dim: int, size: int = 8) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size={size} must be at least 1")
        self.size, self.output_dim = size, output_dim
        self.project = nn.Linear(dim, output_dim)
        self.position = nn.Parameter(0.02 * torch.randn(size * size, output_dim))

    def forward(self, bev: Tensor) -> Tensor:
        """Return tokens (B, g^2, D) of maps (B, C, H, W)."""
        pooled = F.adaptive_avg_pool2d(bev, self.size).flatten(2).transpose(1, 2)
        return self.project(in_dtype_of(self.project, pooled)) + self.position
