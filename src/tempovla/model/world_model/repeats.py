"""Actions that are each done for several control steps, and what came of them.

The end of an episode may cut the last action short. Such an action is known as well: the steps that were done are all
that there is to know.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.timeline import TimelineSample, Track


def beyond_end(sample: TimelineSample, steps: int) -> Tensor:
    """Return (B, T) bool whether each of the control steps from now on lies beyond the episode's end.

    A model knows the end by validity alone: nothing is valid beyond it, in any stream. A value that is missing before
    the end is followed by others that are valid, in its own stream or in another one.

    Args:
        sample: of which all streams are asked.
        steps: number T of control steps.
    """
    tracks = [*sample.context.now.values(), *sample.future.values()]
    reached = [torch.where(track.valid, track.offset.to(track.valid.device), -1).amax(dim=1) for track in tracks]
    last = torch.stack(reached).amax(dim=0)
    return torch.arange(steps, device=last.device) > last[:, None]


def repeated_actions(track: Track, repeat: int, beyond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return one action (B, T, A) for each R control steps, 0 where it is unknown, and (B, T) bool whether it is known.

    Where the R steps had different actions, there was no such action, so it is unknown.

    Args:
        track: the actions (B, T R, A) of all control steps.
        repeat: number R of control steps for which each action is done.
        beyond: (B, T R) bool whether a step lies beyond the episode's end. An action that is cut short there is known
            if its steps before the end are. None takes no step to lie there.
    """
    actions = track.value.float().unflatten(1, (-1, repeat))
    same = (actions == actions[:, :, :1]).all(dim=-1)
    known = _all_known(track.valid & same.flatten(1), repeat, beyond)
    return torch.where(known[..., None], actions[:, :, 0], 0.0), known


def repeated_rewards(track: Track, repeat: int, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum (B, T) of the rewards of each action, 0 where it is unknown, and (B, T) bool whether it is known.

    Args:
        track: the rewards (B, T R, 1) of all control steps.
        repeat: number R of control steps for which each action is done.
        beyond: (B, T R) bool whether a step lies beyond the episode's end; nothing is added there.
    """
    rewards = torch.where(track.valid, track.value[..., 0].float(), 0.0)
    known = _all_known(track.valid, repeat, beyond)
    return torch.where(known, rewards.unflatten(1, (-1, repeat)).sum(dim=2), 0.0), known


def repeated_ends(track: Track, repeat: int, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, T) bool whether the world ended with each action, and (B, T) bool whether this is known.

    Args:
        track: (B, T R, 1) whether the world ended with each control step.
        repeat: number R of control steps for which each action is done.
        beyond: (B, T R) bool whether a step lies beyond the episode's end.
    """
    ended = (track.value[..., 0] > 0) & track.valid
    return ended.unflatten(1, (-1, repeat)).any(dim=2), _all_known(track.valid, repeat, beyond)


def _all_known(valid: Tensor, repeat: int, beyond: Tensor | None) -> Tensor:
    """(B, T) bool whether the first of the R steps (B, T R) of each action is valid, and all others before the end."""
    first = valid[:, ::repeat]
    return (valid if beyond is None else valid | beyond).unflatten(1, (-1, repeat)).all(dim=2) & first
