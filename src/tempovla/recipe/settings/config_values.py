"""Errors of one line about a value that is a config of its own, such as `model.context`.

The parser's own message lists every type that such a value may have, and why it is none of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from tempovla.recipe.settings.values_only import load_yaml
from tempovla.timeline.config import typed_from_json

FREE_KEYS = (dict[str, Any], Mapping[str, Any])
"""Types of options whose keys the user chooses."""


def explain_values(parser: ArgumentParser) -> None:
    """Make a parser name, in one line, the key of such a value that is unknown or of another type.

    An option of free keys keeps what is given before beside a key with dots, such as `--model.planner.horizon`.
    """
    for action, _ in config_options(parser):
        if not hasattr(action._check_type, "__wrapped__"):
            action._check_type = _explained(action._check_type, action.dest, action._typehint)
    actions: list[Any] = parser._actions
    for action in actions:
        is_free = type(action).__name__ == "ActionTypeHint" and action._typehint in FREE_KEYS
        if is_free and not hasattr(action._check_type, "__wrapped__"):
            action._check_type = _gathered(action._check_type, action.dest)


def check_values(parser: ArgumentParser, args: Namespace) -> None:
    """Refuse such values with keys that do not fit together.

    Raises:
        ValueError: in the words of the config.
    """
    for action, _ in config_options(parser):
        value = args.get(action.dest)
        if isinstance(value, Namespace):
            typed_from_json(action._typehint, value.as_dict(), action.dest)


def kinds_first(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which `--part.kind` goes before the other options of its part.

    Another kind begins with its own defaults, so the options that are given beside it must come after it. No option is
    moved over a config file, which counts from where it stands.
    """
    found = list(arguments)
    for place, argument in enumerate(arguments):
        option, equals, _ = argument.partition("=")
        if not option.startswith("--") or not option.endswith(".kind"):
            continue
        part, width = option.removesuffix("kind"), 1 if equals else 2
        config = max((at for at in range(place) if found[at].partition("=")[0] == "--config"), default=-1)
        sibling = next((at for at in range(config + 1, place) if found[at].startswith(part)), None)
        if sibling is not None and found[sibling].partition("=")[0] != option:
            found[sibling : place + width] = [*found[place : place + width], *found[sibling:place]]
    return found


def config_options(parser: ArgumentParser) -> Iterator[tuple[Any, list[type[Any]]]]:
    """The options whose value is null or a config, one or one of several that `kind` tells apart; and their classes."""
    actions: list[Any] = parser._actions
    for action in actions:
        hint = action._typehint if type(action).__name__ == "ActionTypeHint" else None
        kinds: list[Any] = [kind for kind in get_args(hint) if kind is not type(None)]
        if kinds and all(map(dataclasses.is_dataclass, kinds)) and (len(kinds) == 1 or all(map(_has_kind, kinds))):
            yield action, kinds


def _has_kind(config: type[Any]) -> bool:
    return "kind" in get_type_hints(config)


def _explained(check: Callable[..., Any], dest: str, hint: Any) -> Callable[..., Any]:
    """The check of an option's value, which says in the words of the config what it finds wrong.

    What is given goes on top of what was given before, by a file or by an option, before it is checked: the parser
    alone would choose among several configs by the last option, which need not name their `kind`.
    """

    @wraps(check)  # the parser looks at the signature
    def explained(value: Any, *more: Any, **settings: Any) -> Any:
        known = settings.get("cfg") or {}
        given = _as_mapping(value, known.get(dest))
        if isinstance(value, Namespace) or (isinstance(given, Mapping) and "class_path" in given):
            return check(value, *more, **settings)
        try:
            if isinstance(given, Mapping):
                found = check(given, *more, **{**settings, "cfg": None})
                if _class_of(found) != _class_of(known.get(dest)):
                    known[dest] = None  # or the parser would add the options of another kind to it
                return found
            return check(value, *more, **settings)
        except (TypeError, ValueError):
            typed_from_json(hint, given, dest)
            raise

    return explained


def _gathered(check: Callable[..., Any], dest: str) -> Callable[..., Any]:
    """The check of an option of free keys, for which single ones with dots are gathered.

    The parser alone would forget those that were given before under the same first key, and leave their text unread.
    """

    @wraps(check)  # the parser looks at the signature
    def gathered(value: Any, *more: Any, **settings: Any) -> Any:
        if hasattr(value, "key"):
            before = (settings.get("cfg") or {}).get(dest)
            value = _placed(before, value.key.split("."), _loaded(value.val))
        return check(value, *more, **settings)

    return gathered


def _placed(known: Any, names: Sequence[str], value: Any) -> Any:
    """Nested keys and values with one of them set."""
    if not names:
        return value
    entries = dict(known) if isinstance(known, Mapping) else {}
    return {**entries, names[0]: _placed(entries.get(names[0]), names[1:], value)}


def _class_of(value: Any) -> Any:
    return value.get("class_path") if isinstance(value, Namespace) else None


def _as_mapping(value: Any, before: Any) -> Any:
    """Keys and values that are given, on top of those that were given before; the value itself if it has no keys."""
    known = _plain(before) if isinstance(before, Namespace) else {}
    if hasattr(value, "key"):  # one option, such as `temporal.hidden_dim`
        return _with(known, value.key.split("."), _loaded(value.val))
    given = _loaded(value)
    if not isinstance(given, Mapping) or given.get("kind", known.get("kind")) != known.get("kind"):
        return given
    return {**known, **{name: _of_known_kind(known.get(name), part) for name, part in given.items()}}


def _with(known: Any, names: Sequence[str], value: Any) -> Any:
    """Nested keys and values with one of them set; options of another `kind` are not kept."""
    if not names:
        return _of_known_kind(known, value)
    entries = dict(known) if isinstance(known, Mapping) else {}
    if list(names) == ["kind"] and entries.get("kind") != value:
        return {"kind": value}
    return {**entries, names[0]: _with(entries.get(names[0]), names[1:], value)}


def _of_known_kind(known: Any, given: Any) -> Any:
    """A part that is given as a whole; without a `kind` it is of the kind that was there, if that has its options."""
    if not isinstance(known, Mapping) or not isinstance(given, Mapping) or "kind" not in known or "kind" in given:
        return given
    return {"kind": known["kind"], **given} if set(given) <= set(known) else given


def _plain(value: Any) -> Any:
    """Values of a parser without the classes that it has found for them."""
    if not isinstance(value, Namespace):
        return value
    entries = vars(value)
    if "__subclasses_disabled__" in entries:
        return _plain(entries["init_args"])
    return {name: _plain(entry) for name, entry in entries.items()}


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return load_yaml(value)
    except yaml.YAMLError:
        return value
