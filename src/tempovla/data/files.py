"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempovla.data.errors import DatasetError
from tempovla.storage.json_files import to_json_text


class Staging:
    """A folder for files in the making, on the same file system as their destination."""

    def __init__(self, root: Path) -> None:
        self.folder = root / ".writing"

    def path(self, name: str) -> Path:
        """Where to write a file before `publish`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def publish(self, staged: Path, target: Path) -> None:
        """Put a staged file in its place, replacing an older one; it is on the disk before it is seen."""
        with staged.open("rb") as file:
            os.fsync(file.fileno())
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
        """Remove what was left unfinished."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()


@contextmanager
def full_disk_told(root: Path, doing: str, safe: str, clean_up: Callable[[], None]) -> Iterator[None]:
    """Turn a full disk into one line, after `clean_up`; other errors pass.

    Args:
        root: the dataset that is written.
        doing: what was under way.
        safe: what is on the disk and stays.
        clean_up: removes what is unfinished.

    Raises:
        DatasetError: if the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC and "No space left" not in str(error):  # HDF5's and FFmpeg's have no number
            raise
        clean_up()
        raise DatasetError(
            f"{root}: the disk is full, while {doing}; {safe} are safe, free some space and resume"
        ) from error
