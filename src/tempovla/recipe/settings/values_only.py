"""Configs hold values only: a config imports no class and includes no other file."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jsonargparse
import yaml

from tempovla.timeline.plugins import plugins_in_use

MOST_VALUES = 100_000
"""Values of a config, those that an alias repeats counted each time."""
DEEPEST = 50
"""Lists and mappings in one another."""

_TRUSTED = ["tempovla"]
"""Packages whose config classes a parser may use, as of its last call."""
_TOO_DEEP = f"it is nested deeper than {DEEPEST} levels, as no config is; write it flat"
_REMEDY = "a config names no classes and no files of other values, and modules of your own come in with --plugin MODULE"

_load_plain_yaml = jsonargparse.get_loader("yaml")


def _trusted() -> list[str]:
    """Packages whose config classes a parser may use: this one, and those of plugins in use."""
    packages = ["tempovla", *dict.fromkeys(name.partition(".")[0] for name in plugins_in_use())]
    if packages != _TRUSTED:
        _TRUSTED[:] = packages
        # Parsers remember the options of config classes, to which a plugin may have added some.
        getattr(sys.modules.get("jsonargparse._typehints"), "_cached_class_parsers", {}).clear()
    return _TRUSTED


def take_values_only(parser: jsonargparse.ArgumentParser) -> None:
    """Make a parser refuse values that would import a class or read another file."""
    jsonargparse.set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=_trusted())
    jsonargparse.set_loader("yaml", load_yaml, (yaml.YAMLError,))
    actions: list[Any] = parser._actions
    for action in actions:
        if type(action).__name__ == "_ActionConfigLoad" and not isinstance(action._load_config, partial):
            action._load_config = partial(_load_group, action.dest, action._load_config)


@contextmanager
def imports_refused() -> Iterator[None]:
    """Turn a parser's refusal to import into an error of this command line.

    Raises:
        argparse.ArgumentError: in place of the parser's own error.
    """
    try:
        yield
    except ImportError as error:
        found = re.search(r"Importing '([^']*)'", str(error))
        if found is None:
            raise
        raise argparse.ArgumentError(None, f"{found[1]!r} names a class; {_REMEDY}") from None


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text, of plain types only.

    Raises:
        yaml.YAMLError: if it has a tag of another type, is nested without end, or repeats more values by aliases than
            any config has.
    """
    try:
        if len(text) > DEEPEST or "\n" in text:  # shorter ones can be neither deep nor long
            _check_events(text)
        if "&" in text and "*" in text:
            _check_size(yaml.compose(text, Loader=yaml.SafeLoader))
        value = _load_plain_yaml(text)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    _check_depth(value)
    return value


def _check_events(text: str) -> None:
    """Refuse a text that is deep or long without end, which costs a parser its stack or memory, before it is built.

    A key that a mapping has twice is refused, too: the first of its values would be passed over.
    """
    values = 0
    keys: list[dict[str, int] | None] = []  # of the collections around: keys and their lines; None for a list
    is_key: list[bool] = []
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        starts, ends = isinstance(event, yaml.CollectionStartEvent), isinstance(event, yaml.CollectionEndEvent)
        if ends:
            keys.pop()
            is_key.pop()
        elif isinstance(event, yaml.NodeEvent) and keys:
            if is_key[-1] and isinstance(event, yaml.ScalarEvent):
                _check_new(event, keys[-1])
            is_key[-1] = not is_key[-1]
        if starts:
            keys.append({} if isinstance(event, yaml.MappingStartEvent) else None)
            is_key.append(isinstance(event, yaml.MappingStartEvent))
        values += isinstance(event, yaml.ScalarEvent)
        if len(keys) > DEEPEST:
            raise yaml.YAMLError(_TOO_DEEP)
        if values > MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_VALUES:,} values, as no config does; keep data in files")


def _check_new(event: yaml.ScalarEvent, keys: dict[str, int] | None) -> None:
    """Add a key to those of its mapping.

    Raises:
        yaml.YAMLError: if it is there already.
    """
    line = 1 + (0 if event.start_mark is None else event.start_mark.line)
    if keys is not None and event.value != "<<":
        if event.value in keys:
            raise yaml.YAMLError(
                f"{event.value!r} is there twice, in lines {keys[event.value]} and {line}; write it once"
            )
        keys[event.value] = line


def _check_depth(value: Any) -> None:
    """Refuse lists in lists without end, which a parser would follow one call after the other."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for found in level
            if isinstance(found, list | dict)
            for inner in (found.values() if isinstance(found, dict) else found)
        ]
        if not level:
            return
    raise yaml.YAMLError(_TOO_DEEP)


def _check_size(root: yaml.Node | None) -> None:
    """Refuse aliases that hold themselves, or that stand for more values than any config has."""
    waiting: list[tuple[Any, tuple[int, ...]]] = [(root, ())]
    seen = 0
    while waiting:
        node, around = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES} values; write the values out")
        if isinstance(node, yaml.CollectionNode):
            if id(node) in around:
                raise yaml.YAMLError("an alias stands for what it is part of; write the values out")
            inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            waiting.extend((part, (*around, id(node))) for part in inner)


def _load_group(key: str, load: Callable[..., Any], value: Any, parser: jsonargparse.ArgumentParser) -> Any:
    """The values of a group of keys, such as `model`, which are given as one."""
    given = load_yaml(value) if isinstance(value, str) else value
    named = given.get("class_path") if isinstance(given, Mapping | jsonargparse.Namespace) else given
    if named is not None:
        raise TypeError(
            f'Parser key "{key}": is {str(named)[:80]!r}, but holds values of its own, such as --{key}.KEY VALUE; '
            + _REMEDY
        )
    return load(given, parser)
