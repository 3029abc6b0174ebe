"""Files and folders that a command writes, checked before its work begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from tempovla.recipe.settings.parser import ArgumentParser
from tempovla.storage.writable import check_file, check_folder

OUTPUTS = ("json", "out", "record", "videos", "target")
"""Arguments that name what a command writes; all others are read."""
STDOUT = "-"


def check_outputs(parser: ArgumentParser, given: Namespace) -> None:
    """Refuse outputs that cannot be written, that are inputs as well, or that take each other's place.

    Args:
        parser: of the command, whose metavars tell files from folders.
        given: its parsed arguments.

    Raises:
        ValueError: in one line that names the option and the remedy.
    """
    written: dict[str, tuple[Path, bool]] = {}
    for action in parser._actions:
        value = given.get(action.dest) if action.dest in OUTPUTS else None
        name = next(iter(action.option_strings), str(action.metavar))
        if value == "" and action.default != "":
            raise ValueError(f"{name} is empty; name what to write, or leave it out")
        if isinstance(value, str) and value not in ("", STDOUT):
            written[name] = (Path(value), str(action.metavar).startswith("FILE"))
    inputs = [text for key, value in given.as_dict().items() if key not in OUTPUTS for text in _texts(value)]
    for name, (path, is_file) in written.items():
        if is_file and (name == "--json" or not path.is_dir()):
            check_file(path, name, inputs)
        elif path.exists() and not path.is_dir():
            raise ValueError(f"{name} {path}: is a file, but a folder is written; give another name")
        else:
            check_folder(path, f"{name} {path}")
    _refuse_shared(written)


def _refuse_shared(written: Mapping[str, tuple[Path, bool]]) -> None:
    """Refuse a file that would have to be a folder of another output, or another output itself."""
    for name, (path, is_file) in written.items():
        for other, (place, _) in written.items():
            if is_file and name != other and path.absolute() in (place.absolute(), *place.absolute().parents):
                raise ValueError(f"{name} {path}: is the place of {other} {place}; give another file")


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, each of which may name a file."""
    if isinstance(value, str | os.PathLike):
        yield os.fspath(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)
