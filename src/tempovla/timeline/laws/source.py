"""Law 3 of sources and of everything that reads windows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tempovla.timeline.laws.violation import expect_equal
from tempovla.timeline.source import EpisodeSource
from tempovla.timeline.track import Track
from tempovla.timeline.window import Window

WindowReader = Callable[[int, int], Track]
"""Reads the window around one step: (episode, step) to a track with B = 1."""

WordReader = Callable[[int, int], str]
"""Returns the instruction at one step: (episode, step) to its words."""


def source_reader(source: EpisodeSource, window: Window) -> WindowReader:
    """Read windows straight from a source."""

    def read(episode: int, step: int) -> Track:
        value, valid = source.read(episode, window.key, [step + offset for offset in window.offsets])
        return _track(source, window, torch.as_tensor(value), torch.as_tensor(valid))

    return read


def _track(source: EpisodeSource, window: Window, value: Tensor, valid: Tensor) -> Track:
    """A track of one row, as the loader makes it."""
    make = Track.of_points if source.streams[window.key].kind == "points" else Track.of
    return make(value[None], window.offsets, valid[None])


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
            expected = _track(source, window, value, valid)
            what = f"window {window.key!r} of episode {episode} (length {length}) at step {now}"
            expect_equal(law, what, expected, read_window(episode, now))


def check_instructions(
    source: EpisodeSource, *, read_words: WordReader | None = None, episodes: Sequence[int] = (0,)
) -> None:
    """Check that every control step has an instruction, and that a sample has the instruction of its own step.

    Args:
        source: gives the truth, an episode at a time.
        read_words: returns the instruction of a sample at one step, e.g. from a batch; None checks the source alone.
        episodes: which episodes to look at.
    """
    law = "the words of a step"
    for episode in episodes:
        info, told = source.episode(episode), source.instructions(episode)
        what = f"episode {episode} (length {info.length})"
        expect_equal(law, f"number of instructions of {what}", info.length, len(told))
        expect_equal(law, f"first instruction of {what}", info.instruction, told[0])
        if read_words is None:
            continue
        for step in range(info.length):
            expect_equal(law, f"what {what} is told at step {step}", told[step], read_words(episode, step))
