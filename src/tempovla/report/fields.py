"""JSON of a run directory, looked up by key: errors name the file, the key, what is there and the remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from tempovla.storage.json_files import parse_json, read_text, shown

T = TypeVar("T")

JSON_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_REMEDY = "run the evaluation again"


def load_json(path: Path, kind: type = dict) -> Any:
    """Return the JSON value of a file, which must be of this kind.

    Raises:
        ValueError: naming the file and the remedy.
    """
    text = read_text(path, remedy=_REMEDY)
    value = parse_json(text, f"{path}:", remedy=_REMEDY)
    if not isinstance(value, kind):
        raise ValueError(f"{path} is not {JSON_KINDS[kind]}; write it as docs/systems/report.md describes")
    return value


class Reader:
    """A JSON object with its file and its place in it, for errors that name both."""

    def __init__(self, path: Path, key: str, value: Any):
        self.path, self.key, self.value = path, key, value
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {key} is {shown(value)}; it must be an object")

    def error(self, key: str, problem: str) -> ValueError:
        """Return the error about the value under `key`."""
        return ValueError(f"{self.path}: {self._name(key)} {problem}")

    def optional(self, key: str) -> Reader | None:
        """Return the object under `key`; None where there is none."""
        return None if key not in self.value else self.child(key)

    def child(self, key: str) -> Reader:
        """Return the object under `key`, which must be there."""
        if key not in self.value:
            raise self.error(key, "is missing; run the evaluation again or add it")
        return Reader(self.path, self._name(key), self.value[key])

    @overload
    def get(self, key: str, kind: type[T], required: Literal[True]) -> T: ...
    @overload
    def get(self, key: str, kind: type[T]) -> T | None: ...
    def get(self, key: str, kind: type[T], required: bool = False) -> T | None:
        """Return the value under `key`, which must be of this kind; None where there is none and none is required."""
        value = self.value.get(key)
        if value is None and not required:
            return None
        if type(value) is not kind:
            raise self.error(key, f"is {shown(value)}; it must be {JSON_KINDS[kind]}")
        return value

    def number(self, key: str) -> float:
        """Return the finite number under `key`, which must be there."""
        value = self.value.get(key)
        if not is_number(value):
            raise self.error(key, f"is {shown(value)}; it must be a finite number")
        return value

    def optional_number(self, key: str) -> float | None:
        """Return the finite number under `key`; None where there is none."""
        return None if self.value.get(key) is None else self.number(key)

    @overload
    def seconds(self, key: str, required: Literal[True]) -> float: ...
    @overload
    def seconds(self, key: str) -> float | None: ...
    def seconds(self, key: str, required: bool = False) -> float | None:
        """Return the number of seconds under `key`, at least 0; None where there is none and none is required."""
        value = self.value.get(key)
        if value is None and not required:
            return None
        if not (is_number(value) and value >= 0):
            raise self.error(key, f"is {shown(value)}; it must be a number of seconds, at least 0")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """Return names and texts of the object under `key`; none where there is no object."""
        data = self.optional(key)
        return {} if data is None else {str(name): str(text) for name, text in data.value.items()}

    def _name(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
