"""Tiny SA-GR policies with no weight at zero, and samples of theirs that can be changed in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from tests.contract.samples import random_contexts, random_sample
from tests.tiny import FRONT, WRIST, tiny_sagr_config
from torch import Tensor

from tempovla.model.vla.sagr import SAGR
from tempovla.timeline import Context, TimelineSample, Track, training_windows
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, TOKENS_KEY

SHAPES = {STATE_KEY: (3,), FRONT: (3, 16, 16), WRIST: (3, 16, 16), ACTION_KEY: (4,), TOKENS_KEY: (6,)}
OBSERVED = (STATE_KEY, FRONT, WRIST)


def sagr(**options: Any) -> SAGR:
    """The same weights each time, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = SAGR(tiny_sagr_config(**options)).eval()
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return policy


def sample_of(policy: SAGR, rows: int = 4, seed: int = 0) -> TimelineSample:
    """A sample for training, all of it valid, whose instructions have words."""
    sample = random_sample(training_windows(policy), SHAPES, rows=rows, seed=seed)
    words = sample.context.now[TOKENS_KEY].map(lambda ids: ids.clamp(min=0))
    now = {**sample.context.now, TOKENS_KEY: words}
    return replace(sample, context=replace(sample.context, now=now))


def contexts_of(policy: SAGR, steps: int = 4, rows: int = 3) -> list[Context]:
    """Successive contexts for acting."""
    return random_contexts(policy.windows(), SHAPES, steps=steps, rows=rows)


def changed_future(sample: TimelineSample, change: Callable[[str, Track], Track]) -> TimelineSample:
    """A sample with other observations in the future; the actions stay."""
    future = {key: track if key == ACTION_KEY else change(key, track) for key, track in sample.future.items()}
    return replace(sample, future=future)


def noisy(track: Track) -> Track:
    """The track with other values of the same kind."""
    generator = torch.Generator().manual_seed(9)
    if track.value.dtype == torch.uint8:
        return track.with_value(torch.randint(0, 256, track.value.shape, generator=generator, dtype=torch.uint8))
    return track.with_value(track.value + torch.randn(track.value.shape, generator=generator))


def invalid(track: Track, rows: Tensor | None = None) -> Track:
    """The track with nothing valid, in some rows (B,) bool or in all; what is not valid is NaN where it can be."""
    gone = torch.ones_like(track.valid) if rows is None else rows[:, None].expand_as(track.valid)
    value = track.value
    if value.is_floating_point():
        value = value.masked_fill(gone.reshape(*gone.shape, *[1] * (value.dim() - 2)), float("nan"))
    return replace(track, value=value, valid=track.valid & ~gone)


def gradients(policy: SAGR, name: str, sample: TimelineSample, progress: Any = None) -> dict[str, Tensor]:
    """The gradients of one loss term alone, by parameter; those that it does not reach are left out."""
    from tempovla.objective.objective import reduce_term

    policy.zero_grad(set_to_none=True)
    value = reduce_term(name, policy(sample, progress)[name])
    if value.requires_grad:
        value.backward()
    found = {key: each.grad for key, each in policy.named_parameters() if each.grad is not None}
    return {key: gradient for key, gradient in found.items() if bool(gradient.abs().max() > 0)}
