"""What earlier bird's eye views tell of the present one, after ego motion has brought them onto it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.fusion.align import align_bev
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.vla.frame_history import FrameHistory
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig


class BEVHistory(FrameHistory):
    """A temporal encoder over the views of every place, of which the newest is the present one.

    Each past view is moved by the ego motion since then, so that what stands still keeps its cell. What a place looked
    like is a sequence of up to W + 1 steps, and what the encoder makes of it is added to the present view. Places that
    a past view did not cover are left out of its sequence.

    Args:
        config: kind and sizes of the encoder.
        grid: the cells.
        dim: channels C of the views.
    """

    def __init__(self, config: BEVTemporalConfig, grid: BEVGridConfig, dim: int) -> None:
        super().__init__(config, (dim, grid.rows, grid.columns), dim)
        self.grid = grid

    def read(self, view: Tensor, past: Tensor, motion: Tensor, there: Tensor) -> Tensor:
        """Return what the past adds to the views (B, C, rows, columns) of now; see `FrameHistory.read`."""
        covered = there.flatten()[:, None, None].expand(-1, self.grid.rows, self.grid.columns)
        moved, seen = align_bev(past.flatten(0, 1), motion.flatten(0, 1), self.grid, covered)
        views = torch.cat([moved.unflatten(0, there.shape).to(view.dtype), view[:, None]], dim=1)
        seen = torch.cat([seen.unflatten(0, there.shape), torch.ones_like(seen[: len(view), None])], dim=1)
        return self._read(views, seen)

    def _read(self, views: Tensor, seen: Tensor) -> Tensor:
        """What the encoder makes of the sequences (B, W + 1, C, rows, columns) of all places, in every cell."""
        batch, length, _, rows, columns = views.shape
        size = self.config.cell_size
        places = F.avg_pool2d(views.flatten(0, 1), size, ceil_mode=True)
        covered = F.max_pool2d(seen.flatten(0, 1)[:, None].to(views.dtype), size, ceil_mode=True) > 0
        high, wide = places.shape[-2:]
        steps = places.view(batch, length, self.dim, -1).permute(0, 3, 1, 2).reshape(-1, length, self.dim)
        mask = covered.view(batch, length, -1).transpose(1, 2).reshape(-1, length)
        newest = self.encoder.get_last_hidden_state(steps, mask)
        found = newest.view(batch, high, wide, self.dim).permute(0, 3, 1, 2)
        spread = found.repeat_interleave(size, dim=-2).repeat_interleave(size, dim=-1)
        return spread[..., :rows, :columns].to(views.dtype)
