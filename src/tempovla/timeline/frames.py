"""Single frames of a sequence as rows of a batch, each a context of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.track import Track, concatenate


@dataclass(frozen=True)
class FrameIndex:
    """A choice of frames of rows.

    Attributes:
        row: (N,) int64, rows of the sample.
        place: (N,) int64, places among the sequence's offsets.
        offsets: of the sequence, control steps relative to now.
    """

    row: Tensor
    place: Tensor
    offsets: tuple[int, ...]

    @classmethod
    def where(cls, chosen: Tensor, offsets: Sequence[int]) -> FrameIndex:
        """Return the frames where `chosen` (B, T) bool is True, row by row."""
        row, place = chosen.nonzero(as_tuple=True)
        return cls(row, place, tuple(offsets))

    def scatter(self, value: Tensor, batch: int) -> Tensor:
        """Return (B, T, *F) of values (N, *F) of these frames, zeros elsewhere."""
        whole = value.new_zeros(batch, len(self.offsets), *value.shape[1:])
        return whole.index_put((self.row, self.place), value)

    def gather(self, whole: Tensor) -> Tensor:
        """Return (N, *F) of these frames, of (B, T, *F)."""
        return whole[self.row, self.place]


def frame_context(context: Context, index: FrameIndex) -> Context:
    """Return the frames of a sequence as a context of N rows, each seeing its own present only.

    Streams of which the context holds the present alone, such as the instruction, are the same for all frames.
    """
    steps = torch.tensor(index.offsets)
    now = {}
    for key in context.now:
        track = context.track(key)
        if track.length == 1:
            now[key] = replace(track.rows(index.row), offset=torch.zeros(1, dtype=torch.int64))
        else:
            step = torch.searchsorted(track.offset, steps).to(index.place.device)[index.place]
            now[key] = track.frames(index.row, step)
    tasks = tuple(context.task[row] for row in index.row.tolist())
    return Context({}, now, tasks, torch.zeros_like(index.row, dtype=torch.bool))


def frames_observed(context: Context, keys: Sequence[str], offsets: Sequence[int]) -> Tensor:
    """Return (B, T) bool: whether anything of these streams was observed at each of these offsets."""
    seen = []
    for key in keys:
        track = context.track(key)
        seen.append(track.valid[:, torch.searchsorted(track.offset, torch.tensor(list(offsets)))])
    return torch.stack(seen).any(dim=0)


def frame_actions(sample: TimelineSample, index: FrameIndex, horizon: int) -> Track:
    """Return the actions from each frame on, (N, horizon, A): done by now, or to be imitated."""
    track = sample.future[ACTION_KEY]
    if ACTION_KEY in sample.context.past:
        track = concatenate(sample.context.past[ACTION_KEY], track)
    start = torch.searchsorted(track.offset, torch.tensor(index.offsets)).to(index.place.device)[index.place]
    step = start[:, None] + torch.arange(horizon, device=start.device)
    return Track.of(track.value[index.row[:, None], step], range(horizon), track.valid[index.row[:, None], step])


def actions_before(context: Context, offsets: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Return the actions of the `count` steps before each of these offsets.

    Returns:
        (B, T, count * A), 0 where not valid; and (B, T) bool, whether all of these steps were.
    """
    track = context.past[ACTION_KEY]
    wanted = torch.tensor(list(offsets))[:, None] + torch.arange(-count, 0)
    step = torch.searchsorted(track.offset, wanted)
    valid = track.valid[:, step].all(dim=2)
    value = track.value[:, step].flatten(2)
    return torch.where(valid[..., None], value, 0.0), valid
