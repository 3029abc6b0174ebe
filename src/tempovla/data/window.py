"""Windows read from a source: one at a time, or a batch at once where the source can."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import OutOfRangeError
from tempovla.timeline.parts import StreamPart
from tempovla.timeline.source import EpisodeSource, Reading
from tempovla.timeline.task import Embodiment
from tempovla.timeline.window import Window


def step_numbers(steps: Sequence[int]) -> NDArray[np.int64]:
    """Return (T,) the wanted control steps.

    Raises:
        ValueError: if they are not whole numbers, which would be rounded without a word.
    """
    try:
        asked = np.asarray(steps)
    except ValueError:  # of lists of several lengths
        asked = np.empty(0, object)
    is_empty = asked.shape == (0,) and asked.dtype.kind == "f"  # what numpy makes of []
    if asked.ndim != 1 or not (asked.dtype.kind == "i" or is_empty or _fits(asked)):
        told = repr(steps)
        told = told if len(told) <= 60 else f"{told[:60]}..."
        raise ValueError(f"steps {told} must be a list of whole numbers; give control steps, e.g. [0, 1]")
    return asked.astype(np.int64)


def episode_number(episode: int) -> NDArray[np.int64]:
    """Return (1,) the wanted episode.

    Raises:
        ValueError: if it is no whole number, which would be rounded without a word.
    """
    if not isinstance(episode, Integral) or isinstance(episode, bool):
        raise ValueError(f"episode {episode!r} must be a whole number; episodes are counted from 0")
    return np.array([episode])


def _fits(asked: NDArray[Any]) -> bool:
    """Whether these are unsigned numbers that have a place among the signed ones."""
    return asked.dtype.kind == "u" and (asked.size == 0 or int(asked.max()) <= np.iinfo(np.int64).max)


def gather(source: EpisodeSource, episode: int, now: int, window: Window) -> Reading:
    """Read one window around control step `now`: value (T, *F) clamped at the episode's ends, valid (T,).

    Raises:
        IndexError: if there is no such episode, or `now` lies outside it.
        KeyError: if there is no such stream.
    """
    length = source.episode(episode).length
    if not 0 <= now < length:
        raise OutOfRangeError(f"{source.name}: no frame {now} in episode {episode}; it has {length}, counted from 0")
    return source.read(episode, window.key, [now + offset for offset in window.offsets])


def read_rows(source: EpisodeSource, key: str, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> Reading:
    """Return values (B, T, *F) and validity (B, T) of one stream at steps (B, T) of episodes (B,).

    A source may have a method `read_many` of the same arguments, which is faster than row after row.
    """
    read_many = getattr(source, "read_many", None)
    if read_many is not None:
        return read_many(key, episodes, steps)
    readings = [source.read(episode, key, row) for episode, row in zip(episodes.tolist(), steps.tolist(), strict=True)]
    return Reading(np.stack([r.value for r in readings]), np.stack([r.valid for r in readings]))


def read_words(source: EpisodeSource, episodes: NDArray[np.int64], steps: NDArray[np.int64]) -> list[str]:
    """Return the words of control steps (B,) of episodes (B,).

    A source may have a method `words_at` of the same arguments, which is faster than all words of every episode.
    """
    words_at = getattr(source, "words_at", None)
    if words_at is not None:
        return words_at(episodes, steps)
    told = {episode: source.instructions(episode) for episode in np.unique(episodes).tolist()}
    return [told[episode][step] for episode, step in zip(episodes.tolist(), steps.tolist(), strict=True)]


def read_past_words(
    source: EpisodeSource, episodes: NDArray[np.int64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the words of steps (B, T) of episodes (B,), which may lie before an episode's start.

    Returns:
        UTF-8 bytes (B, T, L), with zeros behind the end of each instruction; and (B, T) whether there is such a step.
    """
    valid = steps >= 0
    rows = np.repeat(episodes, steps.shape[1])
    told = [words.encode() for words in read_words(source, rows, np.maximum(steps, 0).reshape(-1))]
    longest = max(1, *map(len, told))
    joined = np.frombuffer(b"".join(words.ljust(longest, b"\0") for words in told), np.uint8)
    return joined.reshape(*steps.shape, longest).copy(), valid


def embodiment_of(source: EpisodeSource, episode: int) -> Embodiment:
    """Return the body in one episode.

    A source may have a method `embodiment_of`, where calibrations of its cameras differ by episode.
    """
    own = getattr(source, "embodiment_of", None)
    return source.embodiment if own is None else own(episode)


def origin_of(source: EpisodeSource, episode: int) -> tuple[EpisodeSource, int]:
    """Return the source that was opened, behind selections, joined streams and preloading, and the number of an episode
    there: it knows what no stream tells, such as the map of a scene.

    A source that is made from another one has a method `origin`, which returns that and the number of an episode there.
    """
    while (origin := getattr(source, "origin", None)) is not None:
        source, episode = origin(episode)
    return source, episode


def read_part(
    source: EpisodeSource, part: StreamPart, episodes: NDArray[np.int64], steps: NDArray[np.int64]
) -> Reading:
    """Return values (B, T, width) and validity (B, T) of some dimensions of a stream at steps (B, T) of episodes (B,).

    A source may have a method `read_part` of the same arguments, which does not mind what is wrong in other dimensions.
    """
    own = getattr(source, "read_part", None)
    if own is not None:
        return own(part, episodes, steps)
    value, valid = read_rows(source, part.key, episodes, steps)
    value = value if source.streams[part.key].shape else value[..., None]
    return Reading(value[..., part.start : part.stop], valid)
