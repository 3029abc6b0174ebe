"""Parquet files, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import is_lfs_pointer, lfs_problem


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
            raise DatasetError(f"{path}: no column {missing[0]!r} (it has {have}); add it, or copy the dataset again")
        for key in columns:
            if file.schema_arrow.names.count(key) > 1:
                raise DatasetError(several_columns(path, key, file.schema_arrow))
        groups = range(file.num_row_groups) if row_groups is None else row_groups
        try:
            return file.read_row_groups(list(groups), columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: damaged parquet file ({first_line(error)}); copy it again") from None


def several_columns(path: Path, key: str, schema: pa.Schema) -> str:
    """What to say of a file that has more than one column of a name."""
    return f"{path} has {schema.names.count(key)} columns {key!r}; remove all but one, or give them other names"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its closing full stop."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
