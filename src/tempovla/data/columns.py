"""Columns of a dataset's parquet files as arrays, and the rows that each episode owns in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import decode_image
from tempovla.data.layout import DatasetMeta, EpisodeRecord, Feature
from tempovla.data.parquet import open_parquet, read_columns


class Columns:
    """Reads columns when they are first asked for and keeps them within the cache's budget."""

    def __init__(self, meta: DatasetMeta, cache: ByteCache) -> None:
        self._meta = meta
        self._cache = cache
        self._first_row: dict[Path, dict[int, tuple[int, int]]] = {}
        self._row_groups: dict[Path, NDArray[np.int64]] = {}
        self._finite: set[tuple[Path, str]] = set()

    def rows(self, record: EpisodeRecord) -> tuple[int, int]:
        """First row of an episode in its file, and the row after its last.

        Raises:
            DatasetError: if the file does not hold as many rows of the episode as the metadata say.
        """
        if record.data_path not in self._first_row:
            self._first_row[record.data_path] = self._episode_runs(record.data_path)
        start, stop = self._first_row[record.data_path].get(record.index, (0, 0))
        if stop - start != record.length:
            raise DatasetError(
                f"{record.data_path}: episode {record.index} has {stop - start} rows, but its length in the metadata "
                f"is {record.length}; restore the file or correct meta/"
            )
        return start, stop

    def values(self, record: EpisodeRecord, key: str) -> NDArray[Any]:
        """(length, *shape) values of a numeric column over one episode, a view that must not be written to.

        Raises:
            DatasetError: if the column, in any episode of the file, has other shapes than declared, NaN or infinity.
        """
        start, stop = self.rows(record)
        column = self._column(record.data_path, key)
        if (record.data_path, key) not in self._finite:
            _refuse_non_finite(column, record.data_path, key)
            self._finite.add((record.data_path, key))
        return column[start:stop]

    def check_shape(self, record: EpisodeRecord, key: str) -> None:
        """Compare a numeric column of the episode's file with the metadata, whatever its values.

        Raises:
            DatasetError: if it has other shapes than declared.
        """
        self._column(record.data_path, key)

    def image(self, record: EpisodeRecord, key: str, step: int) -> NDArray[np.uint8]:
        """(H, W, 3) image of a column of images."""
        where = f"{record.data_path}: {key!r} row {self.rows(record)[0] + step}"
        return decode_image(self.encoded_image(record, key, step), self._meta.features[key].shape, where)

    def encoded_image(self, record: EpisodeRecord, key: str, step: int) -> bytes:
        """An image as it is stored in the parquet file itself, or beside it under the path that it gives."""
        row = self.rows(record)[0] + step
        path = record.data_path
        group_starts = self._group_starts(path)
        group = int(np.searchsorted(group_starts, row, side="right")) - 1
        struct = self._encoded_images(path, key, group)[row - int(group_starts[group])].as_py()
        encoded = struct["bytes"]
        if encoded is None:
            file = self._meta.root / struct["path"]
            if not file.is_file():
                raise DatasetError(f"{file}: missing, though {path} row {row} refers to it; copy the dataset again")
            encoded = file.read_bytes()
        return encoded

    def _episode_runs(self, path: Path) -> dict[int, tuple[int, int]]:
        index = self._column(path, "episode_index").reshape(-1)
        edges = np.flatnonzero(np.diff(index)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(index)]
        return {int(index[a]): (int(a), int(b)) for a, b in zip(starts, stops, strict=True) if b > a}

    def _group_starts(self, path: Path) -> NDArray[np.int64]:
        if path not in self._row_groups:
            with open_parquet(path) as file:
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._row_groups[path] = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return self._row_groups[path]

    def _column(self, path: Path, key: str) -> NDArray[Any]:
        cached = self._cache.get((path, key))
        if cached is None:
            column = read_columns(path, [key]).column(key)
            cached = to_numpy(column, self._meta.features[key], f"{path}: column {key!r}")
            self._cache.put((path, key), cached)
        return cached

    def _encoded_images(self, path: Path, key: str, group: int) -> pa.Array:
        cached = self._cache.get((path, key, group))
        if cached is None:
            cached = read_columns(path, [key], [group]).column(key).combine_chunks()
            self._cache.put((path, key, group), cached)
        return cached


def to_numpy(column: pa.ChunkedArray, feature: Feature, where: str) -> NDArray[Any]:
    """(N, *shape) array of a column of numbers or of (nested) lists of numbers.

    Raises:
        DatasetError: if the lists do not have the declared shape.
    """
    values: Any = column.combine_chunks()
    while isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    while pa.types.is_nested(values.type):
        values = values.flatten()
    flat = values.to_numpy(zero_copy_only=False)
    rows, size = len(column), int(np.prod(feature.shape))
    if flat.size != rows * size:
        raise DatasetError(
            f"{where}: {flat.size} numbers in {rows} rows, but meta/info.json declares shape {list(feature.shape)}; "
            "correct the one that is wrong"
        )
    return np.array(flat.reshape(rows, *feature.shape), dtype=feature.dtype)


def _refuse_non_finite(values: NDArray[Any], path: Path, key: str) -> None:
    if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values).all():
        return
    rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    bad = values.reshape(len(values), -1)[rows[0]]
    raise DatasetError(
        f"{path}: {key!r} has {bad[~np.isfinite(bad)][0]} in row {rows[0]} ({len(rows)} such rows); "
        "remove those episodes or repair the values"
    )
