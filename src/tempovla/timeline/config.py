"""Frozen config dataclasses as plain JSON values, and back, strictly."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from tempovla.storage.json_files import json_number

C = TypeVar("C")


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
        ValueError: naming the key, if one is unknown to `cls` or a required one is missing.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
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
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and value is not None:
        alternatives = [option for option in typing.get_args(hint) if option is not type(None)]
        fitting = [option for option in alternatives if isinstance(value, list) == (typing.get_origin(option) is tuple)]
        hint = alternatives[0] if len(alternatives) == 1 else fitting[0] if len(fitting) == 1 else hint
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return config_from_json(typing.cast(type, hint), value, where)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        (kind, *_) = (*typing.get_args(hint), None)
        if dataclasses.is_dataclass(kind):
            return tuple(_from_json(kind, item, f"{where}[{index}]") for index, item in enumerate(value))
        return tuple(value)
    return json_number(value) if hint is float else value
