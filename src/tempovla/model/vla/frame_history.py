"""What the last frames tell of the present one: the part that does not depend on what a frame is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempovla.model.fusion.align import relative_motion
from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.core.encoder import TemporalEncoder
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig
from tempovla.timeline.frames import FrameIndex


@dataclass(frozen=True)
class FrameMemory(RowState):
    """The views of the last W frames, oldest first.

    Attributes:
        view: (B, W, *V), each in the vehicle's frame of its own time.
        pose: (B, W, 3) of the vehicle then: x [m], y [m] and heading [rad] in one frame.
        known: (B, W) bool, whether there was such a frame, and its pose is known.
    """

    view: Tensor
    pose: Tensor
    known: Tensor

    def pushed(self, view: Tensor, pose: Tensor, known: Tensor) -> FrameMemory:
        """Return the memory with the present view as its newest, and without its oldest one."""
        pairs = ((self.view, view), (self.pose, pose), (self.known, known))
        return FrameMemory(*(torch.cat([old[:, 1:], new[:, None].to(old.dtype)], dim=1) for old, new in pairs))


class FrameHistory(nn.Module):
    """A temporal encoder over short sequences of views, of which the newest is the present one.

    What the encoder makes of them is added to the present view. A subclass defines `read`.

    Args:
        config: kind and sizes of the encoder.
        shape: V of a view.
        dim: features of a view at one place.
    """

    def __init__(self, config: BEVTemporalConfig, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.config, self.shape, self.dim = config, shape, dim
        self.encoder = TemporalEncoder(config.encoder_config(dim, config.past_frames + 1))

    def read(self, view: Tensor, past: Tensor, motion: Tensor, there: Tensor) -> Tensor:
        """Return what the past adds to the present views (B, *V).

        Args:
            view: (B, *V) of now.
            past: (B, W, *V), oldest first.
            motion: (B, W, 3) pose of the vehicle now in its frame of each past view; see `relative_motion`.
            there: (B, W) bool, which past views count. What the others and their motions hold must change nothing.
        """
        raise NotImplementedError

    def initial_state(self, batch: int) -> FrameMemory:
        """Return the memory of rows that have seen nothing."""
        like, past = next(self.parameters()), self.config.past_frames
        known = torch.zeros(batch, past, dtype=torch.bool, device=like.device)
        pose = torch.zeros(batch, past, 3, device=like.device)
        return FrameMemory(like.new_zeros(batch, past, *self.shape), pose, known)

    def forward(self, view: Tensor, pose: Tensor, known: Tensor, memory: FrameMemory) -> Tensor:
        """Return the present views (B, *V) with what the past adds to them.

        Args:
            view: (B, *V) of now.
            pose: (B, 3) of now.
            known: (B,) bool, whether the pose of now is known; without it the past is not read.
            memory: the frames before.
        """
        there = memory.known & known[:, None]
        motion = relative_motion(memory.pose, pose[:, None])
        motion = torch.where(there[..., None], motion, 0.0)
        return view + self.read(view, memory.view, motion, there)

    def sequence(self, view: Tensor, pose: Tensor, known: Tensor, index: FrameIndex) -> Tensor:
        """Return what `forward` returns for the frames of sequences, step by step.

        Args:
            view: (B, T, *V).
            pose: (B, T, 3).
            known: (B, T) bool.
            index: N frames of these.

        Returns:
            (N, *V).
        """
        past = self.config.past_frames
        place = index.place[:, None] + torch.arange(-past, 0, device=index.place.device)
        row, before = index.row[:, None], place.clamp(min=0)
        memory = FrameMemory(view[row, before], pose[row, before], known[row, before] & (place >= 0))
        return self(index.gather(view), index.gather(pose), index.gather(known), memory)
