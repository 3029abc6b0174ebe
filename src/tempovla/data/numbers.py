"""Whole numbers out of files in which they may be written in several ways."""

from __future__ import annotations

import re
from typing import Any

_DIGITS = re.compile(r"-?[0-9]+")


def whole_number(value: Any) -> int | None:
    """The whole number that a value is without any loss, also one written as 12.0 or "12"; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return None
