"""The config files of a command line, by path or by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

OPTION = "--config"
PACKAGED = Path(__file__).resolve().parents[2] / "configs"
"""The folder of the configs that come with the package, each of which goes by its name, without `.yaml`."""
ANSWERED_AT_ONCE = ("--help", "-h", "--print_config", "--print-config")
"""Options that end a command where they stand."""


def with_packaged_configs(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which names of packaged configs, such as `vla_metaworld`, are paths.

    A file in the current folder goes before a packaged config of the same name.

    Raises:
        ValueError: if a name is neither a file nor that of a packaged config.
    """
    found = list(arguments)
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option == OPTION and equals:
            found[place] = f"{OPTION}={_packaged_path(value)}"
        elif option == OPTION and place + 1 < len(arguments):
            found[place + 1] = _packaged_path(arguments[place + 1])
    return found


def _packaged_path(value: str) -> str:
    """Return the path of a packaged config where its name is given, and anything else as it is."""
    path = Path(value)
    if not value or value.startswith("-") or os.path.lexists(value):
        return value
    names = sorted(config.stem for config in PACKAGED.glob("*.yaml"))
    if path.stem in names and path.suffix in ("", ".yaml"):
        if path.name == value:
            return str(PACKAGED / f"{path.stem}.yaml")
        raise ValueError(f"{OPTION} {value}: no such file; {OPTION} {path.stem} is the one that comes with TempoVLA")
    if path.name != value or path.suffix:
        return value
    near = difflib.get_close_matches(value, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise ValueError(f"{OPTION} {value}: neither a file nor a config that comes with TempoVLA; {hint}")


def config_files(arguments: Sequence[str]) -> list[Path]:
    """Return the configs that are there, in the order in which they are given."""
    return [Path(arguments[place].partition("=")[2] or arguments[place + 1]) for place in _places(arguments)]


def config_to_blame(
    arguments: Sequence[str], complaint: str, complaint_of: Callable[[list[str]], str | None]
) -> Path | None:
    """Return the config that a parser's complaint is about.

    Later configs go before earlier ones, so it is the one without which, and without those behind it, the command line
    would not be complained about so; None where it would be without any of them.

    Args:
        arguments: the command line.
        complaint: the parser's message.
        complaint_of: returns the message about another command line; None if there is none.
    """
    places, files = _places(arguments), config_files(arguments)
    for count in range(len(files)):
        dropped = {
            index for place in places[count:] for index in ((place,) if "=" in arguments[place] else (place, place + 1))
        }
        kept = [
            argument
            for index, argument in enumerate(arguments)
            if index not in dropped and argument.partition("=")[0] not in ANSWERED_AT_ONCE
        ]
        if complaint_of(kept) == complaint:
            return files[count - 1] if count else None
    return files[-1] if files else None


def _places(arguments: Sequence[str]) -> list[int]:
    found = []
    for place, argument in enumerate(arguments):
        option, equals, name = argument.partition("=")
        if option == OPTION and not equals:
            name = arguments[place + 1] if place + 1 < len(arguments) else ""
        if option == OPTION and name and os.path.lexists(name):
            found.append(place)
    return found
