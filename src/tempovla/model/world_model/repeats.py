"""Actions that are each done for several control steps."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.timeline import Track


def repeated_actions(track: Track, repeat: int) -> tuple[Tensor, Tensor]:
    """Return one action (B, T, A) for each R control steps, 0 where it is unknown, and (B, T) bool whether it is known.

    Where the R steps had different actions, there was no such action, so it is unknown.

    Args:
        track: the actions (B, T R, A) of all control steps.
        repeat: number R of control steps for which each action is done.
    """
    actions = track.value.float().unflatten(1, (-1, repeat))
    same = (actions == actions[:, :, :1]).all(dim=-1)
    known = (track.valid.unflatten(1, (-1, repeat)) & same).all(dim=2)
    return torch.where(known[..., None], actions[:, :, 0], 0.0), known
