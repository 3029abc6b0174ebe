"""Instructions of a dataset's episodes."""

from __future__ import annotations

import re

from tempovla.data.errors import DatasetError
from tempovla.timeline.source import EpisodeSource

LONGEST_WORDS = 100_000
"""Characters of an instruction, a hundred times what any model reads."""


def words_told(source: EpisodeSource) -> list[str]:
    """Return all instructions that some control step carries out, in the order in which they occur."""
    return list(dict.fromkeys(words for index in range(len(source)) for words in source.instructions(index)))


def episode_words(source: EpisodeSource, episode: int) -> str:
    """Return the instructions of one episode, in the order in which they occur; they differ where those of the rows
    differ.
    """
    return " / ".join(dict.fromkeys(source.instructions(episode)))


def has_words(instruction: str) -> bool:
    """Return whether there is any letter or digit, of any script, in an instruction."""
    return re.search(r"\w", instruction) is not None


def steps_without_words(source: EpisodeSource) -> dict[int, int]:
    """Return the first step without an instruction, by episode, for the episodes that have such steps."""
    found = {}
    for episode in range(len(source)):
        told = source.instructions(episode)
        silent = {words for words in dict.fromkeys(told) if not has_words(words)}
        if silent:
            found[episode] = next(step for step, words in enumerate(told) if words in silent)
    return found


def check_words(source: EpisodeSource, option: str = "--data.default_instruction") -> None:
    """Refuse a dataset with steps that have no instruction.

    Args:
        source: the dataset.
        option: the option that gives such steps an instruction.

    Raises:
        DatasetError: naming the first such episode and step, and what to do.
    """
    silent = steps_without_words(source)
    if silent:
        episode, step = next(iter(silent.items()))
        where = source.episode(episode).origin or f"{source.name}: episode {episode}"
        told = source.instructions(episode)[step]
        raise DatasetError(
            f"{where} has no instruction at step {step} ({told!r}; {len(silent)} of {len(source)} episodes have such "
            f'steps); write it into the dataset, or give them all the same with {option} "..."'
        )


def default_problem(instruction: str) -> str | None:
    """Return the reason why a text cannot be the default instruction; None if it can, or if it is empty."""
    if instruction and not has_words(instruction):
        return f"{instruction!r} holds no word; write an instruction, or leave it empty"
    return None
