"""Places that one piece of work writes to: none may take another's, whatever names and links lead to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Place:
    """A file or folder that will be written.

    Attributes:
        path: where, as the user gave it.
        is_file: whether it is a file.
        admits: what of the same work may lie in the folder: `all`; `files` that lie directly in it, where its folders
            are written as a whole; or `nothing`, where it is a dataset or checkpoint.
        beside: files that are written with it.
    """

    path: Path
    is_file: bool
    admits: Literal["all", "files", "nothing"] = "all"
    beside: tuple[Path, ...] = ()


def check_distinct(places: Mapping[str, Place]) -> None:
    """Refuse a file that would have to be another output or a folder of one, and what lies where only one is kept.

    Args:
        places: by the name of their option, for the message.

    Raises:
        ValueError: in one line that names both options.
    """
    for name, place in places.items():
        here = _resolved(place.path)
        for other, theirs in places.items():
            if name == other:
                continue
            there, said = _resolved(theirs.path), f"{other} {theirs.path}"
            if place.is_file and here in (there, *there.parents):
                raise ValueError(f"{name} {place.path}: is the place of {said}; give another file")
            if here in map(_resolved, theirs.beside):
                raise ValueError(f"{name} {place.path}: is a file that {said} writes as well; give another file")
            if theirs.is_file or there not in (here, *here.parents):
                continue
            if theirs.admits == "nothing":
                raise ValueError(
                    f"{name} {place.path}: lies in {said}, in which nothing else is kept; give another place"
                )
            if theirs.admits == "files" and here.parent != there:
                raise ValueError(
                    f"{name} {place.path}: lies in a folder of {said}; give {theirs.path / place.path.name}"
                )


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))
