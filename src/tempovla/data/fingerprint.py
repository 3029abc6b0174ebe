"""Fingerprints of datasets that do not depend on name or place; no picture is decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.source import EpisodeSource


@runtime_checkable
class ContentHashing(Protocol):
    """A source that can hash its contents without reading them value by value."""

    def content_hash(self, keys: Collection[str]) -> str:
        """64 hexadecimal digits that another value in one of these streams would change; others may change it."""


def dataset_fingerprint(source: EpisodeSource, keys: Collection[str]) -> str:
    """Return 64 hexadecimal digits of what is read of a dataset: lengths, instructions, rate, and contents of some
    streams.

    Equal for a copy in another folder. Files are hashed as they are stored, so a dataset that was encoded anew has
    another fingerprint even if it shows the same.

    Args:
        source: the dataset.
        keys: the streams that count.

    Raises:
        KeyError: if there is no such stream.
        OSError: if a file is gone.
    """
    facts = {
        "episodes": [[source.episode(index).length, _words(source, index)] for index in range(len(source))],
        "rate_hz": source.rate_hz,
        "streams": {key: asdict(source.streams[key]) for key in sorted(keys)},
        "content": content_hash(source, keys),
    }
    return hash_json(facts)


def _words(source: EpisodeSource, episode: int) -> str | list[list[Any]]:
    """The words of an episode, or the steps from which on there are others, and those."""
    told = source.instructions(episode)
    changes = [[step, words] for step, words in enumerate(told) if step == 0 or words != told[step - 1]]
    return told[0] if len(changes) == 1 else changes


def content_hash(source: EpisodeSource, keys: Collection[str]) -> str:
    """Return the hash of `ContentHashing`; a source without it is read from end to end."""
    if isinstance(source, ContentHashing):
        return source.content_hash(keys)
    digest = hashlib.sha256()
    for key in sorted(keys):
        for episode in range(len(source)):
            value, valid = source.read(episode, key, range(source.episode(episode).length))
            digest.update(hash_arrays({key: value, "valid": valid}).encode())
    return digest.hexdigest()


def hash_json(facts: Any) -> str:
    """Return 64 hexadecimal digits of plain JSON values; the order in mappings does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return 64 hexadecimal digits of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{arrays[name].shape}:".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return 64 hexadecimal digits of the bytes of each file."""
    hashes = {}
    for path in sorted(set(paths)):
        with path.open("rb") as file:
            hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
