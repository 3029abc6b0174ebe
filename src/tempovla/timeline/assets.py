"""Files that a bundle keeps beside its JSON and weights, such as those of a tokenizer, so that it moves as a whole.

They are data: text, JSON, sentencepiece models and safetensors. Nothing that could run code is written or read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

from tempovla.storage.json_files import read_bytes
from tempovla.storage.paths import Inside

Assets = Mapping[str, bytes]
"""Path, relative and with slashes, to content."""

ASSET_ENDINGS = frozenset({".json", ".txt", ".model", ".jinja", ".tiktoken", ".spm", ".bpe", ".safetensors"})


@runtime_checkable
class KeepsFiles(Protocol):
    """An object that needs files to be built again from its JSON."""

    def assets(self) -> dict[str, bytes]:
        """Return the files, by path in a bundle."""


def assets_of(things: Iterable[Any]) -> dict[str, bytes]:
    """Return the files of all of these that need some."""
    found: dict[str, bytes] = {}
    for thing in things:
        if isinstance(thing, KeepsFiles):
            found |= thing.assets()
    return found


def asset_folder(kind: str, fingerprint: str) -> str:
    """Return the folder in a bundle that holds the files of what has such a fingerprint."""
    return f"{kind}_{fingerprint[:16]}"


def with_files(data: Any, assets: Assets) -> Any:
    """Return JSON values in which every object with a `fingerprint` has its files, by name, under `files`."""
    if isinstance(data, list | tuple):
        return [with_files(item, assets) for item in data]
    if not isinstance(data, Mapping):
        return data
    found = {key: with_files(value, assets) for key, value in data.items()}
    ending = f"_{str(data.get('fingerprint'))[:16]}"
    files = {name.split("/", 1)[1]: content for name, content in assets.items() if name.split("/")[0].endswith(ending)}
    return found | ({"files": files} if files else {})


def is_asset(name: str) -> bool:
    """Return whether a bundle may hold a file of this name."""
    path = PurePosixPath(name)
    return path.suffix in ASSET_ENDINGS and not path.is_absolute() and ".." not in path.parts


def write_assets(folder: Path, assets: Assets) -> dict[str, str]:
    """Write files into a folder, which appears with the first of them.

    Returns:
        Their hashes (SHA-256), by name in order.

    Raises:
        ValueError: if a file has an ending of none of these kinds.
    """
    hashes = {}
    for name, content in sorted(assets.items()):
        if not is_asset(name):
            raise ValueError(f"{folder / name}: a bundle holds files of {', '.join(sorted(ASSET_ENDINGS))} only")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def read_assets(folder: Path, hashes: Mapping[str, str], *, remedy: str) -> dict[str, bytes]:
    """Read what `write_assets` wrote.

    Raises:
        ValueError: naming the file and the remedy, if one is missing or is not the one that was written.
    """
    assets = {}
    within = Inside(folder)
    for name, expected in hashes.items():
        if not is_asset(name):
            raise ValueError(f"{folder / name}: a bundle holds files of {', '.join(sorted(ASSET_ENDINGS))} only")
        path = within.path(name, said_by="bundle.json: assets", remedy=remedy)
        content = read_bytes(path, remedy=remedy)
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(f"{path}: is not the file that was saved; {remedy}")
        assets[name] = content
    return assets
