"""Seeds of episodes: reproducible from a run's seed, and never shared by demonstrations and evaluations."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

_STREAMS = ("collect", "evaluate")


def episode_seed(stream: Literal["collect", "evaluate"], seed: int, task: str, episode: int, attempt: int = 0) -> int:
    """Return the environment's seed for one episode of a run.

    Args:
        stream: what the episode is for; seeds of different streams differ whatever else is equal.
        seed: the run's, non-negative.
        task: the task's name; other tasks of the run have nothing to do with its seeds.
        episode: the episode's number within the task.
        attempt: how many times it was tried before.

    Returns:
        An int in [0, 2**31).
    """
    source = np.random.SeedSequence([seed, zlib.crc32(task.encode()), episode, attempt])
    return int(source.generate_state(1)[0] >> 2) * len(_STREAMS) + _STREAMS.index(stream)
