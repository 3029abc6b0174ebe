"""Parquet files, with one-line errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import is_lfs_pointer, lfs_problem
from tempovla.storage.paths import regular_file

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""Errors of Arrow at a damaged file; the last is for names that are no UTF-8."""
MOST_DENSE = 100
"""How many bytes in memory one of a file may become."""
_NOT_WORTH_A_LOOK_BYTES = 64 << 20
_WIDEST_BYTES = 8
_FEW_ROWS, _BATCH_ROWS = 100_000, 256
_MOST_ROW_BYTES = 256 << 20
"""Of a table that tells of episodes or tasks; a million episodes take less."""


class MissingColumnError(DatasetError):
    """A file that lacks a column."""


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file and read its footer. Damaged contents that are read within the block give the same kind of error; the
    block must read nothing else.

    Raises:
        DatasetError: if the file is missing, truncated or damaged.
    """
    try:
        if path.exists():
            regular_file(path, remedy="copy it again", error=DatasetError)
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing, though the metadata refer to it; copy the dataset again") from None
    except UNREADABLE as error:
        if is_lfs_pointer(path):
            raise DatasetError(lfs_problem(path)) from None
        raise DatasetError(f"{path}: no complete parquet file ({first_line(error)}); copy it again") from None
    with file:
        try:
            yield file
        except UNREADABLE as error:
            raise DatasetError(f"{path}: damaged parquet file ({first_line(error)}); copy it again") from None


def read_columns(path: Path, columns: Sequence[str], row_groups: Sequence[int] | None = None) -> pa.Table:
    """Read some columns, of all row groups or of some.

    Raises:
        DatasetError: if the file is missing, truncated or lacks a column.
    """
    with open_parquet(path) as file:
        _refuse_missing(path, file.schema_arrow, columns)
        groups = range(file.num_row_groups) if row_groups is None else row_groups
        _refuse_dense(path, file.metadata, columns, groups)
        return file.read_row_groups(list(groups), columns=list(columns), use_threads=False)


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a small table, such as that of the episodes, one mapping of columns each.

    Raises:
        DatasetError: if the file is missing, truncated, lacks a column, or has more rows or longer texts than a file of
            its size tells of.
    """
    with open_parquet(path) as file:
        _refuse_missing(path, file.schema_arrow, columns)
        count, size = file.metadata.num_rows, path.stat().st_size
        if count > max(_FEW_ROWS, size):
            raise DatasetError(f"{path}: has {count:,} rows in {size:,} bytes, most of them equal; copy it again")
        rows: list[dict[str, Any]] = []
        taken = 0
        if count * _text_bytes(file.metadata) <= _NOT_WORTH_A_LOOK_BYTES:  # however often each text is repeated
            return file.read(columns=list(columns), use_threads=False).to_pylist()
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
            taken += sum(_bytes_as_rows(column) for column in batch.columns)
            if taken > _MOST_ROW_BYTES:
                raise DatasetError(
                    f"{path}: more than {_MOST_ROW_BYTES:,} bytes of text in {len(rows)} rows; shorten it, or copy "
                    "the file again"
                )
            rows += batch.to_pylist()
        return rows


def _text_bytes(footer: pq.FileMetaData) -> int:
    """Of all texts in a file, those that many rows share counted once."""
    groups = map(footer.row_group, range(footer.num_row_groups))
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.physical_type.endswith("BYTE_ARRAY"))


def _bytes_as_rows(column: pa.Array) -> int:
    """Memory that values take once each row has its own, also where the file stores one for many rows."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    if pa.types.is_dictionary(column.type):
        longest = column.dictionary.nbytes
        return longest * len(column)
    return column.nbytes


def _refuse_missing(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    missing = [key for key in columns if key not in schema.names]
    if missing:
        have = ", ".join(schema.names[:12])
        raise MissingColumnError(f"{path}: no column {missing[0]!r} (it has {have}); add it, or copy the dataset again")
    for key in columns:
        if schema.names.count(key) > 1:
            raise DatasetError(several_columns(path, key, schema))


def _refuse_dense(path: Path, footer: pq.FileMetaData, columns: Collection[str], groups: Iterable[int]) -> None:
    """Refuse equal values without end, which take a few bytes in a file and gigabytes in memory.

    A recording is never that dull: all its columns together, not only one of them, would have to be so.
    """
    wanted = set(columns)
    values = sum(
        chunk.num_values
        for group in groups
        for chunk in map(footer.row_group(group).column, range(footer.num_columns))
        if chunk.path_in_schema.split(".")[0] in wanted or chunk.path_in_schema in wanted
    )
    taken, size = values * _WIDEST_BYTES, path.stat().st_size
    if taken > max(_NOT_WORTH_A_LOOK_BYTES, MOST_DENSE * size):
        raise DatasetError(f"{path}: {values:,} values in a file of {size:,} bytes, most of them equal; copy it again")


def read_present(path: Path, columns: Collection[str]) -> dict[str, pa.ChunkedArray]:
    """Return those of some columns that a file has, once each, by name; none where they cannot be read together.

    Raises:
        DatasetError: if the file is missing or truncated.
    """
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        present = [key for key in dict.fromkeys(columns) if names.count(key) == 1]
        _refuse_dense(path, file.metadata, present, range(file.num_row_groups))
        try:
            table = file.read(columns=present, use_threads=False)
        except UNREADABLE:  # whoever reads a damaged one is told so
            return {}
    return {key: table.column(key) for key in present}


def single_value(path: Path, column: str) -> int | None:
    """Return the whole number that all rows of a column hold, if the file's footer shows it; no row is read.

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
    """Return the message about a file with several columns of one name."""
    return f"{path} has {schema.names.count(key)} columns {key!r}; remove all but one, or give them other names"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its closing full stop."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
