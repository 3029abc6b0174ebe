"""Parquet files, with one-line errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import is_lfs_pointer, lfs_problem


class MissingColumnError(DatasetError):
    """A file that lacks a column."""


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file and read its footer.

    Raises:
        DatasetError: if the file is missing or truncated.
    """
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing, though the metadata refer to it; copy the dataset again") from None
    except (pa.ArrowException, OSError) as error:
        if is_lfs_pointer(path):
            raise DatasetError(lfs_problem(path)) from None
        raise DatasetError(f"{path}: no complete parquet file ({first_line(error)}); copy it again") from None


def read_columns(path: Path, columns: Sequence[str], row_groups: Sequence[int] | None = None) -> pa.Table:
    """Read some columns, of all row groups or of some.

    Raises:
        DatasetError: if the file is missing, truncated or lacks a column.
    """
    with open_parquet(path) as file:
        missing = [key for key in columns if key not in file.schema_arrow.names]
        if missing:
            have = ", ".join(file.schema_arrow.names[:12])
            raise MissingColumnError(
                f"{path}: no column {missing[0]!r} (it has {have}); add it, or copy the dataset again"
            )
        for key in columns:
            if file.schema_arrow.names.count(key) > 1:
                raise DatasetError(several_columns(path, key, file.schema_arrow))
        groups = range(file.num_row_groups) if row_groups is None else row_groups
        try:
            return file.read_row_groups(list(groups), columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: damaged parquet file ({first_line(error)}); copy it again") from None


def read_present(path: Path, columns: Collection[str]) -> dict[str, pa.ChunkedArray]:
    """Those of some columns that a file has, once each, by name; none where they cannot be read together.

    Raises:
        DatasetError: if the file is missing or truncated.
    """
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        present = [key for key in dict.fromkeys(columns) if names.count(key) == 1]
        try:
            table = file.read(columns=present, use_threads=False)
        except (pa.ArrowException, OSError):  # whoever reads a damaged one is told so
            return {}
    return {key: table.column(key) for key in present}


def single_value(path: Path, column: str) -> int | None:
    """The whole number that all rows of a column hold, if the file's footer says so; no row is read.

    Raises:
        DatasetError: if the file is missing or truncated.
    """
    with open_parquet(path) as file:
        footer = file.metadata
        places = [i for i in range(footer.num_columns) if footer.schema.column(i).path == column]
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        found = set[object]()
        for group in groups if len(places) == 1 else ():
            facts = group.column(places[0]).statistics
            is_told = facts is not None and facts.has_min_max and facts.has_null_count and not facts.null_count
            found |= {facts.min, facts.max} if is_told else {None}
    value = found.pop() if len(found) == 1 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def several_columns(path: Path, key: str, schema: pa.Schema) -> str:
    """What to say of a file that has more than one column of a name."""
    return f"{path} has {schema.names.count(key)} columns {key!r}; remove all but one, or give them other names"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its closing full stop."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
