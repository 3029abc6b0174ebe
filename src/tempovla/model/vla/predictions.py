"""What policies with a world model share when their predictions are compared with what really came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tempovla.timeline import Prediction, TimelineSample, Track, Window
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY

Seen = tuple[Tensor, Tensor]
"""Values (B, *F) of one moment, and (B,) bool whether they are known."""


def prediction_windows(
    observations: Sequence[str], horizon: int, stride: int, context: int = 1, *, rewards: bool = False
) -> tuple[Window, ...]:
    """Return the windows of a sample whose last target lies `horizon` control steps ahead.

    Args:
        observations: keys of the streams that are read.
        horizon: control steps, a multiple of `stride`.
        stride: control steps from one observation to the next.
        context: observations before the present one.
        rewards: whether rewards are predicted.
    """
    first = -context * stride
    seen = tuple(Window(key, tuple(range(first, horizon + 1, stride))) for key in observations)
    told = (Window(REWARD_KEY, tuple(range(-stride, horizon))),) if rewards else ()
    return (*seen, Window(ACTION_KEY, tuple(range(first, horizon))), *told)


def future_actions(sample: TimelineSample, stride: int) -> tuple[Tensor, Tensor]:
    """Return the actions (B, P, k, A) from now on, and (B, P) whether they and all before them are known."""
    track = sample.future[ACTION_KEY]
    done = track.valid.unflatten(1, (-1, stride)).all(dim=2)
    value = torch.where(track.valid[..., None], track.value.float(), 0.0)
    return value.unflatten(1, (-1, stride)), done.cumprod(dim=1).bool()


def prediction_of(
    kind: Literal["state", "picture", "latent", "reward"],
    value: Tensor,
    later: Sequence[Seen],
    now: Seen,
    before: Seen,
    done: Tensor,
) -> Prediction:
    """Return a prediction (B, P, *F) that counts where the present, the target and all actions up to it are known.

    Args:
        kind: of the stream.
        value: what was imagined.
        later: what then came, of each of the P steps.
        now: the present.
        before: one stride before it.
        done: (B, P) bool, whether all actions are known.
    """
    target = torch.stack([each for each, _ in later], dim=1)
    seen = torch.stack([there for _, there in later], dim=1)
    return Prediction(kind, value, target, now[1][:, None] & done & seen, *now, *before)


def reward_prediction(
    sample: TimelineSample, stride: int, value: Tensor, seen: Tensor, done: Tensor
) -> dict[str, Prediction]:
    """Return the prediction of the rewards of each stride, which are summed; nothing where the sample has none.

    Args:
        sample: with the rewards from one stride before the present on.
        stride: control steps of one prediction.
        value: (B, P) predicted rewards.
        seen: (B,) bool, whether the present is known.
        done: (B, P) bool, whether all actions are known.
    """
    if REWARD_KEY not in sample.future:
        return {}
    later, last = (_summed(tracks[REWARD_KEY], stride) for tracks in (sample.future, sample.context.past))
    now = (last[0][:, -1], last[1][:, -1])
    valid = later[1] & done & seen[:, None]
    before = (now[0], torch.zeros_like(now[1]))
    return {REWARD_KEY: Prediction("reward", value.float(), later[0], valid, *now, *before)}


def _summed(track: Track, stride: int) -> tuple[Tensor, Tensor]:
    """Rewards (B, T * k, 1) as sums (B, T) of k control steps, and (B, T) whether all of them are known."""
    value = torch.where(track.valid, track.value.flatten(2)[..., 0].float(), 0.0)
    return value.unflatten(1, (-1, stride)).sum(dim=2), track.valid.unflatten(1, (-1, stride)).all(dim=2)
