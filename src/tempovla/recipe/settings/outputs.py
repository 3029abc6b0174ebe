"""Files and folders that a command writes, checked before its work begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from tempovla.recipe.settings.parser import ArgumentParser
from tempovla.storage.distinct import Place, check_distinct
from tempovla.storage.writable import EXPORTED, check_apart, check_file, check_folder, expanded

OUTPUTS = ("json", "out", "record", "videos", "target")
"""Arguments that name what a command writes; all others are read."""
STDOUT = "-"
_READ_BY_REPORTS = ("results.json", "offline.json", "diagnosis.json", "rollouts/index.json")


def check_outputs(parser: ArgumentParser, given: Namespace) -> None:
    """Refuse outputs that cannot be written, that are inputs as well, or that take each other's place.

    A leading `~` of an output becomes the home folder.

    Args:
        parser: of the command, whose name and metavars tell what it writes.
        given: its parsed arguments.

    Raises:
        ValueError: in one line that names the option and the remedy.
    """
    command = parser.prog.removeprefix("tempovla ")
    written: dict[str, Place] = {}
    for action in parser._actions:
        value = given.get(action.dest) if action.dest in OUTPUTS else None
        name = next(iter(action.option_strings), str(action.metavar))
        if value == "" and action.default != "":
            raise ValueError(f"{name} is empty; name what to write, or leave it out")
        if isinstance(value, str) and value not in ("", STDOUT):
            path = expanded(value)
            given[action.dest] = str(path) if value.startswith("~") else value
            written[name] = _place(command, name, path, str(action.metavar).startswith("FILE"))
    check_distinct(written)
    inputs = [text for key, value in given.as_dict().items() if key not in OUTPUTS for text in _texts(value)]
    if command == "report":
        inputs += [os.path.join(folder, file) for folder in inputs for file in _READ_BY_REPORTS]
    for name, place in written.items():
        _check(command, name, place, inputs)


def _place(command: str, name: str, path: Path, is_file: bool) -> Place:
    """What a command writes under one of its options."""
    if command == "export" and name == "--out":  # a folder, or a name without an ending, gets a file of its own
        files = [path] if path.suffix and not os.path.isdir(path) else [path / f"policy{ending}" for ending in EXPORTED]
        return Place(path, is_file=files == [path], beside=tuple(Path(f"{file}.json") for file in files))
    if is_file:
        return Place(path, is_file=True)
    if name == "--videos":
        return Place(path, is_file=False, beside=(path / "index.json",))
    if command == "demo":
        return Place(path, is_file=False, beside=(path / "stages.json", path / "demo.json"))
    if _becomes(command, name):
        return Place(path, is_file=False, admits="nothing")
    return Place(path, is_file=False, admits="files" if command.startswith("train ") else "all")


def _becomes(command: str, name: str) -> Literal["dataset", "checkpoint"] | None:
    """What a folder becomes as a whole."""
    if name == "--record" or command == "data convert" or command.startswith("collect "):
        return "dataset"
    return "checkpoint" if command == "convert openvla" else None


def _check(command: str, name: str, place: Place, inputs: Sequence[str]) -> None:
    """Refuse one output that cannot be written, or whose writing would destroy something."""
    path = place.path
    if place.is_file:
        endings = (".json",) if name == "--json" else (".html", ".htm") if command == "report" else ()
        check_file(path, name, inputs, endings)
        return
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"{name} {path}: is a file, but a folder is written; give another name")
    check_folder(path, f"{name} {path}")
    check_apart(path, name, _becomes(command, name))


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
