"""Identity of a run's data: its files, their contents, and how they are read.

Unlike a fingerprint (`data.fingerprint`), which tells two datasets apart to the last byte and takes as long as reading
them, this takes seconds for any dataset, and says which files differ.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data.digests import file_digests
from tempovla.data.fingerprint import hash_arrays, hash_json
from tempovla.timeline.source import EpisodeSource

LISTED_FILES = 4096
"""A dataset of more files than this is described by folders [files]."""
ARRAY_BYTES = 256 << 20
"""Up to this size an array in memory is hashed whole, else in rows spread evenly [bytes]."""
_SAMPLED_EPISODES = 64
_SAMPLED_ROWS = 4096


@dataclass(frozen=True)
class DataIdentity:
    """Of one dataset.

    Attributes:
        name: the folder, for messages; it does not count.
        facts: everything beside the bytes of files that determines the values, as plain JSON values.
        files: digest by name within the dataset, or of a folder's files by its name.
    """

    name: str
    facts: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the identity as plain JSON values."""
        return {"name": self.name, "facts": dict(self.facts), "files": dict(self.files)}

    def with_facts(self, facts: Mapping[str, Any]) -> DataIdentity:
        """Return the same with more facts."""
        return DataIdentity(self.name, {**self.facts, **facts}, self.files)


@runtime_checkable
class Identified(Protocol):
    """A source that can describe its files, or those of the source that it reads."""

    def identity(self, keys: Collection[str]) -> DataIdentity:
        """Return the identity of the data of these streams."""


def identity_of(source: EpisodeSource, keys: Collection[str]) -> DataIdentity:
    """Return the identity of a dataset, as far as some of its streams are read.

    A source that does not know its files is read in part: its numbers in up to 64 episodes, its pictures at their
    beginnings.

    Raises:
        KeyError: if there is no such stream.
    """
    if isinstance(source, Identified):
        return source.identity(keys)
    digest = hashlib.sha256()
    lengths = [source.episode(index).length for index in range(len(source))]
    for episode in evenly(len(source), _SAMPLED_EPISODES):
        digest.update("\n".join(source.instructions(episode)).encode())
        for key in sorted(keys):
            steps = range(min(lengths[episode], 1 if source.streams[key].is_picture else _SAMPLED_ROWS))
            value, valid = source.read(episode, key, steps)
            digest.update(hash_arrays({key: value, "valid": valid}).encode())
    facts = {"lengths": hash_json(lengths), "contents": digest.hexdigest()}
    return DataIdentity(source.name, stream_facts(source, keys) | facts)


def stream_facts(source: EpisodeSource, keys: Collection[str]) -> dict[str, Any]:
    """Return the number of episodes, rate, and what the streams hold."""
    streams = {key: source.streams[key] for key in sorted(keys)}
    return {
        "episodes": len(source),
        "rate_hz": source.rate_hz,
        "streams": {key: [info.kind, list(info.shape), info.dtype] for key, info in streams.items()},
    }


def files_of(root: Path, paths: Collection[Path]) -> dict[str, str]:
    """Return digests of files by their names in a dataset's folder, of many of them by folder."""
    names = {os.path.relpath(path, root).replace(os.sep, "/"): path for path in sorted(set(paths))}
    digests = file_digests(root, names)
    if len(digests) <= LISTED_FILES:
        return digests
    folders: dict[str, dict[str, str]] = {}
    for name, digest in digests.items():
        folders.setdefault(f"{os.path.dirname(name)}/", {})[name] = digest
    return {name: f"{len(inside)} files {hash_json(inside)[:32]}" for name, inside in folders.items()}


def hash_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of 64 hexadecimal digits of arrays in memory. Of large ones, evenly spread rows and both ends
    count.
    """
    chosen = {}
    for name, array in arrays.items():
        rows = ARRAY_BYTES // max(1, array.nbytes // max(1, len(array)))
        whole = array.nbytes <= ARRAY_BYTES
        chosen[name] = array if whole else array[evenly(len(array), max(2, rows))]
        chosen[f"shape of {name}"] = np.array(array.shape)
    return hash_arrays(chosen)


def evenly(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers from 0 to `count` - 1, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def data_record(identities: Sequence[DataIdentity]) -> list[dict[str, Any]]:
    """Return the identity as plain JSON values, for checkpoints."""
    return [identity.to_json() for identity in identities]
