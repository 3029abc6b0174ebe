"""Frozen config dataclasses as plain JSON values, and back, strictly."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tempovla.storage.json_files import json_number, shown

C = TypeVar("C")
_LARGEST = 2**63
"""Whole numbers are less than this: tensors and files hold no others."""


def config_to_json(config: Any) -> dict[str, Any]:
    """A dataclass, nested ones included, as JSON values (tuples become lists)."""
    return {field.name: _to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_json(value)
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return value


def config_from_json(cls: type[C], data: Mapping[str, Any], where: str = "config") -> C:
    """Read what `config_to_json` wrote.

    Raises:
        ValueError: naming the key, if one is unknown to `cls`, a required one is missing, or a value is of another type
            than its field is declared with.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is {shown(data)}; it must be an object")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(data) - set(fields)))
    if unknown:
        raise ValueError(f"{where}: keys {unknown} are unknown to {cls.__name__}; it has {sorted(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and name not in data
    ]
    if required:
        raise ValueError(f"{where}: keys {required} of {cls.__name__} are missing; add them")
    return cls(**{name: _from_json(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _from_json(hint: Any, value: Any, where: str) -> Any:
    """The value as the type that a field is declared with.

    Raises:
        ValueError: naming the key and the value, if it is of another type.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _of_union(inner, value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return config_from_json(typing.cast(type, hint), value, where)
    elif origin is tuple:
        if isinstance(value, list | tuple) and (inner[-1:] == (...,) or len(inner) == len(value)):
            kinds = [inner[0]] * len(value) if inner[-1:] == (...,) else inner
            items = zip(kinds, value, strict=True)
            return tuple(_from_json(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(items))
    elif origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in inner):
            return value
        raise ValueError(f"{where} is {shown(value)}; choose from {', '.join(map(str, inner))}")
    elif _fits(origin or hint, json_number(value) if hint is float else value):
        return json_number(value) if hint is float else value
    raise ValueError(f"{where} is {shown(value)}; it must be {_in_words(hint)}")


def _of_union(options: Sequence[Any], value: Any, where: str) -> Any:
    """The value as the first of several types that it fits."""
    if value is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    for option in others[:-1]:
        try:
            return _from_json(option, value, where)
        except ValueError:
            continue
    return _from_json(others[-1], value, where)


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a plain type; whole numbers are floats, too, truth values are no numbers."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
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
