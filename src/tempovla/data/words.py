"""What the episodes of a dataset are told, in words."""

from __future__ import annotations

from tempovla.timeline.source import EpisodeSource


def words_told(source: EpisodeSource) -> list[str]:
    """All instructions that some control step carries out, in the order in which they occur."""
    return list(dict.fromkeys(words for index in range(len(source)) for words in source.instructions(index)))


def episode_words(source: EpisodeSource, episode: int) -> str:
    """The instructions of one episode, in the order in which they occur; they differ where those of the rows differ."""
    return " / ".join(dict.fromkeys(source.instructions(episode)))
