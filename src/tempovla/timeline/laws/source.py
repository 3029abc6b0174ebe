"""Law 3 of sources and of whatever reads windows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tempovla.timeline.laws.violation import expect_equal
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window

WindowReader = Callable[[int, int], Track]
"""Reads the window around one step: (episode, step) to a track with B = 1."""


def source_reader(source: EpisodeSource, window: Window) -> WindowReader:
    """Read windows straight from a source."""

    def read(episode: int, step: int) -> Track:
        value, valid = source.read(episode, window.key, [step + offset for offset in window.offsets])
        return Track.of(torch.as_tensor(value)[None], window.offsets, torch.as_tensor(valid)[None])

    return read


def check_shift(
    source: EpisodeSource, window: Window, *, read_window: WindowReader | None = None, episodes: Sequence[int] = (0,)
) -> None:
    """Law 3: at every step, each entry of the window is what a read of that step alone gives; outside an episode
    entries are invalid, and repeat its first or last value.

    So the window at t holds what the window at t+1 holds one offset earlier, bit for bit.

    Args:
        source: gives the truth, one step at a time.
        window: which steps of which stream.
        read_window: how windows are read, e.g. by a sampler; None reads them from the source.
        episodes: which episodes to look at.
    """
    law = "law 3 (shift)"
    read_window = read_window or source_reader(source, window)
    for episode in episodes:
        length = source.episode(episode).length
        singles = [source.read(episode, window.key, [step]) for step in range(length)]
        for now in range(length):
            steps = [now + offset for offset in window.offsets]
            inside = [min(max(step, 0), length - 1) for step in steps]
            value = torch.stack([torch.as_tensor(singles[step].value[0]) for step in inside])
            valid = torch.tensor(
                [step == clamped and bool(singles[step].valid[0]) for step, clamped in zip(steps, inside, strict=True)]
            )
            expected = Track.of(value[None], window.offsets, valid[None])
            what = f"window {window.key!r} of episode {episode} (length {length}) at step {now}"
            expect_equal(law, what, expected, read_window(episode, now))
