"""Errors about a file's contents, which name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tempovla.storage.json_files import shown

_OF_WRONG_VALUES = (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError)
"""Errors of Python, NumPy and torch about a value that is missing, or of a wrong type or size."""


@contextmanager
def said_by(path: str | Path, *, remedy: str, error: type[ValueError] = ValueError) -> Iterator[None]:
    """Make every error in the block name the file whose values it works on.

    It is for blocks that do nothing but make objects of values out of a file: what fails there is the file's fault.

    Args:
        path: the file, or the folder that it lies in.
        remedy: advice, where the message has none.
        error: class of the error.

    Raises:
        ValueError: as `error`, in one line; one that names the path already passes as it is.
    """
    try:
        yield
    except ValueError as problem:
        text = " ".join(str(problem).split())
        if str(path) in text:
            raise
        raise error(f"{path}: {text}" if "; " in text else f"{path}: not readable ({text}); {remedy}") from problem
    except _OF_WRONG_VALUES as problem:
        reason = f"{type(problem).__name__}: {shown_error(problem)}"
        raise error(f"{path}: not readable ({reason}); {remedy}") from problem


def shown_error(problem: BaseException) -> str:
    """Return the first line of an error's message."""
    text = str(problem).strip().splitlines()
    return shown(text[0])[1:-1] if text else "no reason given"
