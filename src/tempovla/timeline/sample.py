"""Context and sample: what a policy may see when it acts, and what a dataset yields for training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempovla.timeline.keys import ACTION_KEY, newest_known
from tempovla.timeline.task import Task
from tempovla.timeline.track import Track, Tracks, concatenate, join_tensors


@dataclass(frozen=True)
class Context:
    """All that a policy may see when it acts.

    Attributes:
        past: tracks at offsets < 0 (observations and actions already done).
        now: tracks at offset 0 (observations only: the action at offset 0 is still to be chosen).
        task: one task per row, B in all.
        first: (B,) bool, True where the row starts a new episode: recurrent state must be reset there.
    """

    past: Tracks
    now: Tracks
    task: tuple[Task, ...]
    first: Tensor

    @property
    def batch_size(self) -> int:
        """Number of rows B."""
        return len(self.task)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.first.device

    def track(self, key: str) -> Track:
        """Return the past and present of one stream as one track.

        Raises:
            KeyError: if no window covers the stream.
        """
        if key in self.past and key in self.now:
            return concatenate(self.past[key], self.now[key])
        if key in self.now:
            return self.now[key]
        if key in self.past:
            return self.past[key]
        known = sorted({*self.past, *self.now})
        raise KeyError(f"no stream {key!r} in this context, which holds {known}; add a Window for it")

    def map_tracks(self, function: Callable[[str, Track], Track]) -> Context:
        """Apply `function(key, track)` to every track."""
        return replace(self, past=map_tracks(self.past, function), now=map_tracks(self.now, function))

    def to(self, device: torch.device | str) -> Context:
        """Return the context on another device."""
        moved = self.map_tracks(lambda _, track: track.to(device))
        return replace(moved, first=self.first.to(device))

    def rows(self, index: Iterable[int]) -> Context:
        """Return the chosen rows of the batch."""
        chosen = list(index)
        select = torch.tensor(chosen, device=self.device)
        kept = self.map_tracks(lambda _, track: track.rows(select))
        return replace(kept, task=tuple(self.task[row] for row in chosen), first=self.first[select])


@dataclass(frozen=True)
class TimelineSample:
    """A batch of windows on timelines.

    Attributes:
        context: what the policy may see.
        future: actions to imitate and what followed them, `next.*` (offsets >= 0), and observations to predict
            (offsets > 0).
        seed: (B,) int64, one random seed a row; all randomness of a loss or an augmentation is a pure function of it
            (`tempovla.timeline.noise`), so that resuming, sharding and batching change no draw.
    """

    context: Context
    future: Tracks
    seed: Tensor

    @property
    def batch_size(self) -> int:
        """Number of rows B."""
        return self.context.batch_size

    def map_tracks(self, function: Callable[[str, Track], Track]) -> TimelineSample:
        """Apply `function(key, track)` to every track, past, present and future."""
        return replace(self, context=self.context.map_tracks(function), future=map_tracks(self.future, function))

    def to(self, device: torch.device | str) -> TimelineSample:
        """Return the sample on another device."""
        future = map_tracks(self.future, lambda _, track: track.to(device))
        return TimelineSample(self.context.to(device), future, self.seed.to(device))

    def rows(self, index: Iterable[int]) -> TimelineSample:
        """Return the chosen rows of the batch."""
        chosen = list(index)
        select = torch.tensor(chosen, device=self.seed.device)
        future = map_tracks(self.future, lambda _, track: track.rows(select))
        return TimelineSample(self.context.rows(chosen), future, self.seed[select])


def map_tracks(tracks: Tracks, function: Callable[[str, Track], Track]) -> dict[str, Track]:
    """Apply `function(key, track)` to every track of a mapping."""
    return {key: function(key, track) for key, track in tracks.items()}


def join_contexts(contexts: Sequence[Context]) -> Context:
    """Return the rows of several contexts, one after the other.

    Raises:
        ValueError: if they do not hold the same streams in the same shapes.
    """
    return Context(
        join_tracks([context.past for context in contexts]),
        join_tracks([context.now for context in contexts]),
        tuple(task for context in contexts for task in context.task),
        torch.cat([context.first for context in contexts]),
    )


def join_tracks(parts: Sequence[Tracks]) -> dict[str, Track]:
    """Return the rows of several mappings of tracks, one after the other; see `join_contexts`."""
    first = parts[0]
    for part in parts[1:]:
        if part.keys() != first.keys():
            raise ValueError(f"rows with streams {sorted(first)} and with {sorted(part)} do not make one batch")
    return {key: _join_rows(key, [part[key] for part in parts]) for key in first}


def _join_rows(key: str, tracks: Sequence[Track]) -> Track:
    kinds = {(tuple(track.value.shape[2:]), track.value.dtype, tuple(track.offset.tolist())) for track in tracks}
    if len(kinds) > 1:
        shapes = sorted(f"{list(shape)} {dtype} at {list(offsets)}" for shape, dtype, offsets in kinds)
        raise ValueError(
            f"rows of stream {key!r} are {' and '.join(shapes)}; bring them to one shape to make one batch"
        )
    return join_tensors(tracks, 0, tracks[0].offset)


def split_tracks(
    tracks: Tracks, action_keys: Collection[str] = (ACTION_KEY,)
) -> tuple[dict[str, Track], dict[str, Track], dict[str, Track]]:
    """Split whole tracks into (past, now, future) by offset.

    Observations at offset 0 are now; an action at offset 0 is the future, as it is yet to be chosen, and so is what
    follows it, such as its reward: all streams `next.*`.
    """
    past: dict[str, Track] = {}
    now: dict[str, Track] = {}
    future: dict[str, Track] = {}
    for key, track in tracks.items():
        is_future = track.offset > (-1 if key in action_keys else newest_known(key))
        is_past = track.offset < 0
        for group, chosen in ((past, is_past), (now, ~is_past & ~is_future), (future, is_future)):
            if bool(chosen.any()):
                group[key] = track.select(chosen)
    return past, now, future
