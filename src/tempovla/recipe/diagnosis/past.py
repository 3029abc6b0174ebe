"""The actions of a policy whose past is cut, shuffled, or taken from another episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tempovla.model.temporal.context import Frames
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.model.vla.features import Features
from tempovla.recipe.diagnosis.frames import Decisions, EncodedFrames


@dataclass(frozen=True)
class Past:
    """The frames that each of N decisions looks at: the oldest first, the present one last.

    Attributes:
        frame: (N, n) int64, numbers of decisions; they mean nothing where not valid.
        valid: (N, n) bool; what is not valid comes first.
    """

    frame: Tensor
    valid: Tensor


def last_frames(decisions: Decisions, length: int | None = None) -> Past:
    """Return the last `length` frames of the same episode, or all of them."""
    count = decisions.longest if length is None else length
    offset = torch.arange(1 - count, 1, device=decisions.number.device)
    own = torch.arange(len(decisions.number), device=offset.device)[:, None]
    return Past((own + offset).clamp(min=0), decisions.number[:, None] + offset >= 0)


def shuffled(past: Past, seed: int) -> Past:
    """Return the frames before the present one in a random order."""
    random = torch.from_numpy(np.random.default_rng(seed).random(past.valid[:, :-1].shape)).to(past.frame.device)
    order = random.masked_fill(~past.valid[:, :-1], -1.0).argsort(dim=1, stable=True)
    return replace(past, frame=torch.cat([past.frame[:, :-1].gather(1, order), past.frame[:, -1:]], dim=1))


def of_another(past: Past, decisions: Decisions, donors: Sequence[int]) -> Past:
    """Replace the frames before the present one by the same number from the beginning of another episode, or by all of
    it.

    Args:
        past: all frames of the same episode.
        decisions: the decisions that `past` numbers.
        donors: for every episode, the one whose past it is given.
    """
    device = decisions.episode.device
    lengths = torch.bincount(decisions.episode)
    starts = lengths.cumsum(0) - lengths
    donor = torch.tensor(list(donors), device=device)[decisions.episode]
    available = torch.minimum(decisions.number, lengths[donor])[:, None]
    offset = torch.arange(1 - past.frame.shape[1], 0, device=device)
    frame = (starts[donor][:, None] + available + offset).clamp(min=0)
    valid = available + offset >= 0
    own = slice(-1, None)
    return Past(torch.cat([frame, past.frame[:, own]], dim=1), torch.cat([valid, past.valid[:, own]], dim=1))


def donors_of(instructions: Sequence[str], seed: int) -> list[int]:
    """Choose for every episode another one, of the same instruction where there is one; each about once."""
    random = np.random.default_rng(seed)
    everyone = random.permutation(len(instructions)).tolist()
    donors = [0] * len(instructions)
    for episode, instruction in enumerate(instructions):
        group = [other for other in everyone if instructions[other] == instruction]
        ring = group if len(group) > 1 else everyone
        donors[episode] = ring[(ring.index(episode) + 1) % len(ring)]
    return donors


@torch.inference_mode()
def act_on(policy: ContextPolicy, decisions: Decisions, encoded: EncodedFrames, past: Past, batch_size: int) -> Tensor:
    """Return the executed part of every chunk, (N, k, A) normalised, with a state built from nothing over `past`."""
    policy_actions = torch.empty_like(decisions.target, dtype=torch.float32)
    lengths = past.valid.sum(dim=1)
    for rows in lengths.argsort(stable=True).split(batch_size):  # windows of a length together: little padding
        width = int(lengths[rows].max())
        frames = _frames(policy, decisions, encoded, Past(past.frame[rows, -width:], past.valid[rows, -width:]))
        own = encoded.features
        features = Features(own.tokens[rows], own.valid[rows]).plus(_read(policy, frames))
        chunk = policy.base.actions_of(features, encoded.context.rows(rows.tolist()), decisions.seed[rows])
        policy_actions[rows] = chunk.value[:, : policy.frame_stride].float()
    return policy_actions


def _frames(policy: ContextPolicy, decisions: Decisions, encoded: EncodedFrames, past: Past) -> Frames:
    """Return the contents of these frames; the actions after a frame stay with it, whatever comes next."""
    own = encoded.features
    summary = own.summary[past.frame]
    actions = summary.new_zeros(*past.frame.shape, policy.context.action_width)
    done = torch.zeros_like(past.valid)
    if policy.context.reads_actions:
        before = past.frame[:, :-1]
        done[:, 1:] = decisions.target_valid[before].all(dim=2) & past.valid[:, :-1]
        actions[:, 1:] = decisions.target[before].flatten(2).to(actions.dtype)
        actions = torch.where(done[..., None], actions, 0.0)
    return Frames(summary, past.valid, actions, done)


def _read(policy: ContextPolicy, frames: Frames) -> Tensor:
    """Return the context's output at the last frame, (B, D), computed in pieces of the training's length."""
    state = policy.context.initial_state(len(frames.valid))
    said, size = None, policy.context.config.frames
    for start in range(0, frames.valid.shape[1], size):
        said, state = policy.context.run(frames.part(start, start + size), state)
    assert said is not None
    return said[:, -1]
