"""What earlier bird's eye views tell of the present one, after ego motion has brought them onto it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.align import align_bev, relative_motion
from tempovla.model.layers.row_state import RowState
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.temporal.core.encoder import TemporalEncoder
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig
from tempovla.timeline.frames import FrameIndex


@dataclass(frozen=True)
class BEVMemory(RowState):
    """The bird's eye views of the last W frames, oldest first.

    Attributes:
        bev: (B, W, C, rows, columns), each in the vehicle's frame of its own time.
        pose: (B, W, 3) of the vehicle then: x [m], y [m] and heading [rad] in one frame.
        known: (B, W) bool, whether there was such a frame, and its pose is known.
    """

    bev: Tensor
    pose: Tensor
    known: Tensor

    def pushed(self, bev: Tensor, pose: Tensor, known: Tensor) -> BEVMemory:
        """Return the memory with the present view as its newest, and without its oldest one."""
        pairs = ((self.bev, bev), (self.pose, pose), (self.known, known))
        return BEVMemory(*(torch.cat([old[:, 1:], new[:, None].to(old.dtype)], dim=1) for old, new in pairs))


class BEVHistory(nn.Module):
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
        super().__init__()
        self.config, self.grid, self.dim = config, grid, dim
        self.encoder = TemporalEncoder(config.encoder_config(dim, config.past_frames + 1))

    def initial_state(self, batch: int) -> BEVMemory:
        """Return the memory of rows that have seen nothing."""
        like, past = next(self.parameters()), self.config.past_frames
        bev = like.new_zeros(batch, past, self.dim, self.grid.rows, self.grid.columns)
        known = torch.zeros(batch, past, dtype=torch.bool, device=like.device)
        return BEVMemory(bev, torch.zeros(batch, past, 3, device=like.device), known)

    def forward(self, bev: Tensor, pose: Tensor, known: Tensor, memory: BEVMemory) -> Tensor:
        """Return the present views (B, C, rows, columns) with what the past adds to them.

        Args:
            bev: (B, C, rows, columns) of now.
            pose: (B, 3) of now.
            known: (B,) bool, whether the pose of now is known; without it the past is not read.
            memory: the frames before.
        """
        there = memory.known & known[:, None]
        motion = relative_motion(memory.pose, pose[:, None])
        motion = torch.where(there[..., None], motion, 0.0)
        covered = there.flatten()[:, None, None].expand(-1, self.grid.rows, self.grid.columns)
        moved, seen = align_bev(memory.bev.flatten(0, 1), motion.flatten(0, 1), self.grid, covered)
        views = torch.cat([moved.unflatten(0, there.shape).to(bev.dtype), bev[:, None]], dim=1)
        seen = torch.cat([seen.unflatten(0, there.shape), torch.ones_like(seen[: len(bev), None])], dim=1)
        return bev + self._read(views, seen)

    def sequence(self, bev: Tensor, pose: Tensor, known: Tensor, index: FrameIndex) -> Tensor:
        """Return what `forward` returns for the frames of sequences, step by step.

        Args:
            bev: (B, T, C, rows, columns).
            pose: (B, T, 3).
            known: (B, T) bool.
            index: N frames of these.

        Returns:
            (N, C, rows, columns).
        """
        past = self.config.past_frames
        place = index.place[:, None] + torch.arange(-past, 0, device=index.place.device)
        row, before = index.row[:, None], place.clamp(min=0)
        memory = BEVMemory(bev[row, before], pose[row, before], known[row, before] & (place >= 0))
        return self(index.gather(bev), index.gather(pose), index.gather(known), memory)

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
