"""Whether pictures that are stored as floats are levels of 0 to 255 or shares of full brightness, column by column."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.availability import is_list
from tempovla.data.column_values import plain_array
from tempovla.data.errors import DatasetError
from tempovla.data.parquet import open_parquet, read_columns

LEVELS, SHARES = 255.0, 1.0
"""Values that stand for full brightness."""
_LEAST_LEVEL = 2.0
"""No share is as large, not even one that was rounded up."""
MOST_FILES = 20
"""Number of files that are searched for a picture that shows it."""


def full_brightness(paths: Iterable[Path], key: str) -> float | None:
    """Return the number that stands for full brightness in a column of pictures, from the first file that shows it.

    A number of 2 or more makes a file one of levels; else a fraction makes it one of shares. Files that hold 0 and 1
    alone, or cannot be read, tell nothing; where no file does, the result is None.
    """
    for path in islice(paths, MOST_FILES):
        try:
            full = _of_file(path, key)
        except DatasetError:  # whoever reads the file is told so
            continue
        if full is not None:
            return full
    return None


def _of_file(path: Path, key: str) -> float | None:
    highest = _highest(path, key)
    if any(high is not None and high >= _LEAST_LEVEL for high in highest):
        return LEVELS
    has_fractions = False
    for group in range(len(highest)):
        values = _values(path, key, group)
        if (values >= _LEAST_LEVEL).any():
            return LEVELS
        has_fractions |= bool((values != np.round(values)).any())
        if has_fractions and None not in highest:
            break
    return SHARES if has_fractions else None


def _highest(path: Path, key: str) -> list[float | None]:
    """The highest number in each row group, None where the file's footer does not tell."""
    with open_parquet(path) as file:
        names, footer = file.schema_arrow.names, file.metadata
        places = [i for i in range(footer.num_columns) if _owner(footer.schema.column(i).path, names) == key]
        found: list[float | None] = []
        for group in range(file.num_row_groups):
            facts = footer.row_group(group).column(places[0]).statistics if len(places) == 1 else None
            highest = facts.max if facts is not None and facts.has_min_max else None
            found.append(float(highest) if isinstance(highest, float | int) else None)
    return found


def _owner(path: str, names: Iterable[str]) -> str:
    """The column that a leaf of the file is part of; keys may hold dots, as paths do."""
    return max((name for name in names if path == name or path.startswith(f"{name}.")), key=len, default="")


def _values(path: Path, key: str, group: int) -> NDArray[np.float64]:
    """(N,) finite numbers of a row group; none where it does not hold floats."""
    values = plain_array(read_columns(path, [key], [group]).column(key))
    while is_list(values.type):
        values = plain_array(values.flatten())
    if not pa.types.is_floating(values.type):
        return np.empty(0)
    flat = values.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
    return flat[np.isfinite(flat)]
