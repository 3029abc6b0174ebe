"""Numbers out of files in which they may be written in several ways."""

from __future__ import annotations

import math
import re
from typing import Any

from tempovla.data.errors import DatasetError

_DIGITS = re.compile(r"-?[0-9]+")


def whole_number(value: Any) -> int | None:
    """Return the whole number that a value is without any loss, also one written as 12.0 or "12"; None for anything
    else.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return None


def number(value: Any) -> float | None:
    """Return the finite number that a value is, also one written as "12.5"; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def count(value: Any, what: str, least: int = 0) -> int:
    """Return a whole number from `least` on.

    Raises:
        DatasetError: naming `what`, if the value is none.
    """
    result = whole_number(value)
    if result is None or result < least:
        raise DatasetError(f"{what} is {value!r}; it must be a whole number, at least {least}")
    return result
