"""Rows and seeds as users give them: one or several, as numbers of Python, numpy or torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.control.observations import as_numbers
from tempovla.timeline.arguments import brief, plain

LARGEST_SEED = 2**62
"""Seeds of neighbouring rows follow from one, and tensors hold no number of more than 63 bits."""
Seeds = int | tuple[int, ...]


def chosen_rows(rows: Any, count: int) -> list[int]:
    """Return the rows that are meant: one, several, or those where a mask of all `count` rows is True.

    Raises:
        ValueError: in one line, if it is none of these, or there is no such row.
    """
    given = _as_array(f"reset(rows={brief(rows)})", rows, "give a row, a list of rows, or one True or False a row")
    if given.dtype.kind == "b":
        if given.shape != (count,):
            raise ValueError(f"reset(rows={brief(rows)}): a mask has one True or False for each of the {count} rows")
        return np.flatnonzero(given).tolist()
    chosen: list[int] = np.atleast_1d(given).tolist()
    if wrong := [row for row in chosen if not 0 <= row < count]:
        if not count:
            raise ValueError(f"reset(rows={brief(rows)}): no episode has begun; call reset() for all robots")
        raise ValueError(f"reset(rows={brief(rows)}): there is no row {wrong[0]} in a batch of {count}")
    return chosen


def checked_seeds(seed: Any) -> Seeds:
    """Return one seed, or one for each row.

    Raises:
        ValueError: in one line, if there is something else than whole numbers, or one of more than 62 bits.
    """
    remedy = "give a whole number, or one for each robot of a batch"
    number = plain(seed)
    numbers = (number,) if isinstance(number, int) else tuple(_as_array(f"seed={brief(seed)}", seed, remedy).tolist())
    for each in numbers:
        if isinstance(each, bool):
            raise ValueError(f"seed={brief(seed)}: {each} is no whole number; {remedy}")
        if abs(each) > LARGEST_SEED:
            raise ValueError(f"seed={brief(seed)}: {each} has more than 62 bits; give a smaller number")
    return numbers[0] if isinstance(number, int) else numbers


def row_seeds(seeds: Seeds, rows: int) -> list[int]:
    """Return the seed of each row: one that follows from a single seed, or its own.

    Raises:
        ValueError: if there are more or fewer than rows.
    """
    if isinstance(seeds, int):
        return [seeds + row for row in range(rows)]
    if len(seeds) != rows:
        raise ValueError(f"seed: {len(seeds)} seeds were given for {rows} rows; give one seed, or one a row")
    return list(seeds)


def _as_array(said: str, given: Any, remedy: str) -> NDArray:
    """Whole numbers or truth values of at most one axis."""
    if isinstance(given, set | frozenset | range):
        given = sorted(given)
    try:
        array = as_numbers("it", given)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu" or array.ndim > 1:
        raise ValueError(f"{said}: no whole numbers; {remedy}")
    return array
