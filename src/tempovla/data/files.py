"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import to_json_text
from tempovla.storage.problems import NO_SPACE, error_number
from tempovla.storage.whole import sync

STAGING_NAME = ".writing"


class Staging:
    """A folder for files in the making, on the same file system as their destination.

    Whoever uses it holds the dataset, so that what is in there of another process is what a kill left.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / STAGING_NAME

    def path(self, name: str) -> Path:
        """Return the path for writing a file before `publish`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def publish(self, staged: Path, target: Path) -> None:
        """Put a staged file in its place, replacing an older one; it is on the disk before it is seen."""
        sync(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)

    def publish_bytes(self, data: bytes, target: Path) -> None:
        """Write a file as a whole."""
        staged = self.path(target.name)
        staged.write_bytes(data)
        self.publish(staged, target)

    def publish_json(self, data: Mapping[str, Any], target: Path, indent: int | None = None) -> None:
        """Write a JSON file as a whole."""
        self.publish_bytes((to_json_text(data, indent=indent, ensure_ascii=False) + "\n").encode(), target)

    def publish_table(self, row_groups: Sequence[pa.Table], target: Path) -> int:
        """Write a parquet file as a whole, a row group a table; returns its size [bytes]."""
        staged = self.path(target.name)
        with pq.ParquetWriter(staged, row_groups[0].schema, compression="snappy", use_dictionary=False) as writer:
            for table in row_groups:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
        size = staged.stat().st_size
        self.publish(staged, target)
        return size

    def clear(self) -> None:
        """Remove unfinished files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def disk_errors_told(root: Path, doing: str, safe: str, clean_up: Callable[[], None]) -> Iterator[None]:
    """Turn errors of the disk into one line, after `clean_up`; other errors pass.

    Args:
        root: the dataset that is written.
        doing: the work under way.
        safe: the files that are on the disk and stay.
        clean_up: removes unfinished files.

    Raises:
        DatasetError: if the disk is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        number = error_number(error)  # HDF5's and FFmpeg's have it in words
        if number is None or isinstance(error, FileNotFoundError):
            raise
        clean_up()
        if number in NO_SPACE:
            raise DatasetError(
                f"{root}: the disk is full, while {doing}; {safe} are safe, free some space and resume"
            ) from error
        raise DatasetError(
            f"{root}: not written ({os.strerror(number)}), while {doing}; {safe} are safe, make the folder writable "
            "and resume, or choose another one"
        ) from error
