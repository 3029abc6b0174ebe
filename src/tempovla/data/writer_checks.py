"""Checks of a writer's input by the rules of readers, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.column_values import BadColumnError, lossless
from tempovla.data.errors import DatasetError
from tempovla.data.words import LONGEST_WORDS

_SHOWN = 40
"""Characters of an instruction that a message shows."""


def check_arrays(where: str, arrays: Mapping[str, Any]) -> None:
    """Refuse everything but numpy arrays.

    Raises:
        DatasetError: naming the first such key and what it is.
    """
    for key, values in arrays.items():
        if not isinstance(values, np.ndarray):
            raise DatasetError(f"{where}: {key!r} is {_kind(values)}; give a numpy array (T, ...)")


def numbers_given(where: str, key: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the numbers (T, *F) as `dtype`, by the rule of the readers: only floats are rounded, to the nearest one.

    Args:
        where: the beginning of messages.
        key: the stream.
        values: numbers of any real type, with at least one row.
        dtype: numpy name of the type as which they are stored or read.

    Raises:
        DatasetError: naming the first step and value, if there are no numbers, or one that is not finite or that
            changes when it becomes one of `dtype`.
    """
    if values.dtype.kind not in "biuf":
        raise DatasetError(f"{where}: {key!r} is {values.dtype}, which holds no real numbers; give {dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DatasetError(f"{where}: {key!r} is not finite at step {step}: {values[step]}; repair it")
    try:
        return lossless(values.reshape(-1), dtype, max(1, values[0].size)).reshape(values.shape)
    except BadColumnError as error:
        raise DatasetError(
            f"{where}: {key!r} {error}, at step {error.row}; correct the values, or store them as another type"
        ) from None


def check_depth(where: str, key: str, values: NDArray[Any]) -> None:
    """Refuse distances (T, ...) that are no floats in metres.

    Raises:
        DatasetError: naming the first step with a negative one.
    """
    if values.dtype.kind != "f":
        raise DatasetError(f"{where}: depth {key!r} is {values.dtype}; give floats in metres")
    below = values < 0
    if below.any():
        step = int(np.argwhere(below)[0][0])
        raise DatasetError(
            f"{where}: depth {key!r} is {values[below][0]:g} m at step {step}; give distances of 0 m or more, 0 where "
            "there is no reading"
        )


def check_texts(where: str, texts: Sequence[Any]) -> None:
    """Refuse instructions that are no text, that no file takes, or that no reader takes.

    Raises:
        DatasetError: naming the first of them.
    """
    for step, text in enumerate(texts):
        if not isinstance(text, str):
            raise DatasetError(f"{where}: the instruction of step {step} is {_kind(text)}; give a text")
    for text in dict.fromkeys(texts):
        if len(text) > LONGEST_WORDS:
            raise DatasetError(
                f"{where}: an instruction of {len(text):,} characters ({text[:_SHOWN]!r}...), and {LONGEST_WORDS:,} "
                "are read at the most; shorten it"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            shown = text[max(0, error.start - _SHOWN) : error.end]
            raise DatasetError(
                f"{where}: instruction {shown!r} holds half a character, which no file can store; write it again"
            ) from None


def rate_given(where: str, fps: Any) -> float:
    """Return a control rate [Hz].

    Raises:
        DatasetError: if it is no positive, finite number.
    """
    is_number = isinstance(fps, int | float | np.integer | np.floating) and not isinstance(fps, bool)
    if not is_number or not (math.isfinite(fps) and fps > 0):
        raise DatasetError(f"{where}: fps is {fps!r}; it must be a positive number")
    return float(fps)


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
