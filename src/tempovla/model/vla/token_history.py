"""What earlier fused tokens tell of the present ones."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.vla.frame_history import FrameHistory
from tempovla.model.vla.multi_sensor_config import BEVTemporalConfig

METRES = 10.0
"""By what ways are divided before a network reads them [m]."""


class TokenHistory(FrameHistory):
    """A temporal encoder over the last values of every token, of which the newest is the present one.

    A token stands for the same part of a camera's picture, or the same query, in all frames. It cannot be moved as a
    place of a map can be, so that each frame's tokens are told how far the vehicle has driven and turned since then.

    Args:
        config: kind and sizes of the encoder.
        count: number L of tokens.
        width: width D of a token.
    """

    def __init__(self, config: BEVTemporalConfig, count: int, width: int) -> None:
        super().__init__(config, (count, width), width)
        self.driven = mlp((3, width, width))

    def read(self, view: Tensor, past: Tensor, motion: Tensor, there: Tensor) -> Tensor:
        """Return what the past adds to the tokens (B, L, D) of now; see `FrameHistory.read`."""
        past = torch.where(there[..., None, None], past, 0.0)
        frames = torch.cat([past.to(view.dtype), view[:, None]], dim=1)
        since = torch.cat([motion, torch.zeros_like(motion[:, :1])], dim=1)
        scaled = since / since.new_tensor((METRES, METRES, 1.0))
        frames = frames + self.driven(in_dtype_of(self.driven, scaled))[:, :, None].to(view.dtype)
        known = torch.cat([there, torch.ones_like(there[:, :1])], dim=1)
        steps = frames.transpose(1, 2).flatten(0, 1)
        newest = self.encoder.get_last_hidden_state(steps, known.repeat_interleave(view.shape[1], dim=0))
        return newest.view(view.shape).to(view.dtype)
