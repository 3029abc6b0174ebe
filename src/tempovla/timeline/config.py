"""Frozen config dataclasses as plain JSON values, and back, strictly."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from tempovla.storage.json_files import json_number, shown
from tempovla.timeline.arguments import plain

C = TypeVar("C")
LARGEST = 2**63
"""Whole numbers are less than this: tensors and files hold no others."""


def config_to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass, nested ones included, as JSON values.

    Tuples become lists, paths become texts, and numbers of numpy become Python's own.
    """
    return {field.name: _to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_json(value)
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return plain(value)


def config_from_json(cls: type[C], data: Mapping[str, Any], where: str = "config", *, upgrade: bool = True) -> C:
    """Read what `config_to_json` wrote.

    A class whose options an earlier version wrote in another way has a class method `upgraded_json`, from what is in a
    file to what this version writes.

    Args:
        cls: class of the config.
        data: its fields.
        where: name of the config, for messages.
        upgrade: whether `data` may be of an earlier version; False reads what somebody writes now.

    Raises:
        ValueError: naming the key, if one is unknown to `cls`, a required one is missing, or a value is of another type
            than its field is declared with.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is {shown(data)}; it must be an object")
    upgraded = getattr(cls, "upgraded_json", None)
    if upgrade and upgraded is not None:
        data = upgraded(dict(data))
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(data) - set(fields)))
    if unknown:
        near = [] if len(unknown) > 1 else get_close_matches(unknown[0], fields, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"it has {sorted(fields)}"
        raise ValueError(f"{where}: keys {unknown} are unknown to {cls.__name__}; {remedy}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and name not in data
    ]
    if required:
        raise ValueError(f"{where}: keys {required} of {cls.__name__} are missing; add them")
    return cls(**{name: _from_json(hints[name], value, f"{where}.{name}", upgrade) for name, value in data.items()})


def value_from_json(cls: type[Any], field: str, value: Any, where: str) -> Any:
    """Return one field of a config, as somebody writes it now.

    Raises:
        ValueError: as `config_from_json`.
    """
    return typed_from_json(typing.get_type_hints(cls)[field], value, where)


def typed_from_json(hint: Any, value: Any, where: str) -> Any:
    """Return a value of a declared type, such as one config of several, as somebody writes it now.

    Raises:
        ValueError: as `config_from_json`.
    """
    return _from_json(hint, value, where, upgrade=False)


def _from_json(hint: Any, value: Any, where: str, upgrade: bool) -> Any:
    """The value as the type that a field is declared with.

    Raises:
        ValueError: naming the key and the value, if it is of another type.
    """
    value, origin, inner = plain(value), typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _of_union(inner, value, where, upgrade)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return config_from_json(typing.cast(type, hint), value, where, upgrade=upgrade)
    elif origin is tuple:
        if isinstance(value, list | tuple) and (inner[-1:] == (...,) or len(inner) == len(value)):
            kinds = [inner[0]] * len(value) if inner[-1:] == (...,) else inner
            items = zip(kinds, value, strict=True)
            return tuple(
                _from_json(kind, item, f"{where}[{index}]", upgrade) for index, (kind, item) in enumerate(items)
            )
    elif origin is Mapping and dataclasses.is_dataclass(inner[1]):
        if isinstance(value, Mapping):
            return {key: _from_json(inner[1], item, f"{where}.{key}", upgrade) for key, item in value.items()}
    elif origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in inner):
            return value
        raise ValueError(f"{where} is {shown(value)}; choose from {', '.join(map(str, inner))}")
    elif _fits(origin or hint, json_number(value) if hint is float else value):
        return json_number(value) if hint is float else value
    if hint in (int, float) and isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{where} is {shown(value)}; it must be less than 2**63")
    raise ValueError(f"{where} is {shown(value)}; it must be {_in_words(hint)}")


def _of_union(options: Sequence[Any], value: Any, where: str, upgrade: bool) -> Any:
    """The value as the first of several types that it fits, or as the config whose `kind` it names."""
    if value is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    kinds = {kind: option for option in others for kind in _kinds_of(option)}
    if len(kinds) > 1 and isinstance(value, Mapping):
        if "kind" not in value:
            fitting = [kind for kind, option in kinds.items() if {*value} <= {*typing.get_type_hints(option)}]
            remedy = f"add kind: {' or '.join(fitting)}" if fitting else f"add kind, one of {', '.join(kinds)}"
            raise ValueError(f"{where}: holds {', '.join(map(str, value)) or 'nothing'}, but no kind; {remedy}")
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            near = get_close_matches(str(kind), kinds, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(kinds)}"
            raise ValueError(f"{where}.kind={kind!r} is unknown; {remedy}")
        return _from_json(kinds[kind], value, where, upgrade)
    for option in others[:-1]:
        try:
            return _from_json(option, value, where, upgrade)
        except ValueError:
            continue
    return _from_json(others[-1], value, where, upgrade)


def _kinds_of(option: Any) -> tuple[str, ...]:
    """The names of a config among several that are told apart by their field `kind`, a Literal of text."""
    if not dataclasses.is_dataclass(option):
        return ()
    hint = typing.get_type_hints(option).get("kind")
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a plain type; whole numbers are floats, too, truth values are no numbers."""
    if kind is float:
        return isinstance(value, float) or (isinstance(value, int) and _fits(int, value))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    if kind is None or kind is type(None):
        return value is None
    return not isinstance(kind, type) or isinstance(value, kind)


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "a list" + ("" if typing.get_args(hint)[-1:] == (...,) else f" of {len(typing.get_args(hint))}")
    if dataclasses.is_dataclass(hint):
        return "an object"
    kind = typing.get_origin(hint) or hint
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return words.get(kind, "an object" if isinstance(kind, type) and issubclass(kind, Mapping) else str(kind))
