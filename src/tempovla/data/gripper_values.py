"""The values of the last action dimension, which is where policies look for a gripper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.source import EpisodeSource

GRIPPER = {-1.0, 1.0}
"""Values of a gripper that a policy learns as one of two classes."""


def last_values(source: EpisodeSource, most: int) -> NDArray[np.float64]:
    """Return sorted distinct values of the last action dimension over all episodes; of more than `most`, some."""
    found = np.empty(0)
    for episode in range(len(source)):
        length = source.episode(episode).length
        if not length:
            continue
        values = source.read(episode, ACTION_KEY, range(length)).value.reshape(length, -1)[:, -1]
        found = np.union1d(found, values.astype(np.float64))
        if len(found) > most:
            break
    return found


def last_name(source: EpisodeSource) -> str:
    """Return the name of the last action dimension for messages."""
    names = source.streams[ACTION_KEY].names
    return "the last dimension of the action" + (f" ({names[-1]})" if names else "")


def shown(values: NDArray[np.float64]) -> list[str]:
    """Return distinct values as texts, with enough digits to distinguish them from each other and from -1 and +1."""
    for digits in (6, 9, 17):
        texts = [f"{value:.{digits}g}" for value in values.tolist()]
        taken = [float(text) in GRIPPER for text in texts]
        if len(set(texts)) == len(texts) and taken == [value in GRIPPER for value in values.tolist()]:
            break
    return texts


def gripper_hints(source: EpisodeSource) -> list[str]:
    """Return hints about a last action dimension that takes two values other than a gripper's."""
    if ACTION_KEY not in source.streams or source.streams[ACTION_KEY].is_picture:
        return []
    values = last_values(source, most=len(GRIPPER))
    if len(values) != len(GRIPPER) or set(values.tolist()) == GRIPPER:
        return []
    low, high = shown(values)
    return [
        f"{last_name(source)} takes {low} and {high}; training would take it for a gripper, which must be -1 or +1, "
        "and refuse it; set --model.has_gripper=false to learn it like any other dimension, or write the dataset anew "
        f"with -1 for {low} and +1 for {high}, which are then learned as two classes"
    ]
