"""Checks of arguments that users give in Python: a value of another type is named in one line, with the remedy.

Numbers of numpy and torch count as numbers, and paths may be texts or anything that the system takes for a path.
"""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any

LONGEST_SHOWN = 60
FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_MIN = 1.1754943508222875e-38
"""The largest number of 32 bits, and the smallest one above 0 that has all digits."""


def brief(value: Any) -> str:
    """Return a value as code in one short line, for messages."""
    line = " ".join(repr(value).split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}..."


def with_noun(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 episode` or `2 episodes`."""
    return f"{number} {noun if number == 1 else noun + 's'}"


def plain(value: Any) -> Any:
    """Return a number of numpy or torch as Python's own, and a path as text; any other value as it is."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, str | bytes | bool | int | float) and getattr(value, "shape", None) == ():
        return value.item() if hasattr(value, "item") else value
    return value


def path_argument(name: str, value: Any, what: str) -> Path:
    """Return an argument that is a path.

    Args:
        name: of the argument.
        value: what the user gave.
        what: what the path leads to, for the message.

    Raises:
        ValueError: if it is no path, or empty.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"{name}={brief(value)} is no path; give that of {what}")
    return Path(path)


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Return an argument that is a whole number.

    Raises:
        ValueError: if it is none, or less than `least`.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise ValueError(f"{name}={brief(value)} must be a whole number")
    if least is not None and number < least:
        raise ValueError(f"{name}={number} must be at least {least}")
    return int(number)


def finite_number(name: str, value: Any) -> float:
    """Return an argument that is a number.

    Raises:
        ValueError: if it is none, or not finite.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
        raise ValueError(f"{name}={brief(value)} must be a finite number")
    return float(number)


def text_argument(name: str, value: Any, example: str) -> str:
    """Return an argument that is a text.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name}={brief(value)} is no text; give one, such as {example!r}")
    return value
