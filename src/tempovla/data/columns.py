"""Columns of a dataset's parquet files as arrays, and the rows that each episode owns in them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.availability import is_list, plain_type
from tempovla.data.byte_cache import ByteCache
from tempovla.data.column_values import BadColumnError, nested, numbers, plain_array
from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import (
    MOST_PICTURE_BYTES,
    check_encoded,
    decode_depth,
    decode_image,
    metres,
    rgb_of_numbers,
)
from tempovla.data.layout import BOOKKEEPING, DatasetMeta, EpisodeRecord, Feature
from tempovla.data.parquet import open_parquet, read_columns, read_present
from tempovla.data.picture_scale import full_brightness
from tempovla.storage.json_files import read_bytes
from tempovla.storage.paths import inside

_LONGEST_PATH = 200
"""Characters; file systems allow 255 bytes a name."""
_SMALL_FILE = 4 << 20
"""Bytes; of larger files columns are read one by one."""


class Columns:
    """Reads columns at first use and keeps them within the cache's budget."""

    def __init__(self, meta: DatasetMeta, cache: ByteCache) -> None:
        self._meta = meta
        self._cache = cache
        self._runs: dict[Path, dict[int, list[tuple[int, int]]]] = {}
        self._row_groups: dict[Path, NDArray[np.int64]] = {}
        self._finite: dict[tuple[Path, str, str], bool] = {}
        self._full: dict[str, float | None] = {}
        self._together: tuple[Path, dict[str, pa.ChunkedArray]] | None = None
        self._uneven: set[tuple[Path, str, str]] = set()  # with rows that are not as declared

    def rows(self, record: EpisodeRecord) -> tuple[int, int]:
        """Return the first row of an episode in its file, and the row after its last.

        Raises:
            DatasetError: if the file does not hold as many rows of the episode as the metadata say.
        """
        if record.data_path not in self._runs:
            self._runs[record.data_path] = self._episode_runs(record.data_path)
        runs = self._runs[record.data_path]
        if record.index not in runs:
            have = ", ".join(map(str, sorted(runs)[:6])) + (", ..." if len(runs) > 6 else "") if runs else "no episode"
            raise DatasetError(
                f"{record.data_path}: no row has episode_index {record.index}, which meta/ puts there with "
                f"{record.length} rows (it has {have}); correct episode_index, or restore the file"
            )
        (start, stop), *others = runs[record.index]
        if others:
            raise DatasetError(
                f"{record.data_path}: rows {start} to {stop - 1} have episode_index {record.index}, and rows "
                f"{others[0][0]} to {others[0][1] - 1} have it again; put an episode's rows together, or remove what "
                "is there twice"
            )
        if stop - start != record.length:
            raise DatasetError(
                f"{record.data_path}: episode {record.index} has {stop - start} rows, but its length in the metadata "
                f"is {record.length}; restore the file or correct meta/"
            )
        return start, stop

    def values(self, record: EpisodeRecord, key: str, part: slice | None = None) -> NDArray[Any]:
        """Return (length, *shape) values of a numeric column over one episode, a view that must not be written to.

        Args:
            record: the episode. What is wrong in other episodes of its file does not matter.
            key: the column.
            part: which dimensions of a column of vectors are read; the others do not matter. All by default.

        Raises:
            DatasetError: if the episode has null, NaN or infinity there, or another shape or type than declared.
        """
        return self._values(record, key, self._feature(key), part)

    def is_sound(self, path: Path, key: str) -> bool:
        """Return whether all rows of a numeric column of a file were found to be as declared, and finite."""
        return self._finite.get((path, key, self._feature(key).dtype), False)

    def times_s(self, record: EpisodeRecord) -> NDArray[np.float64]:
        """Return (length,) timestamps of an episode's rows in the precision in which they are stored [s].

        Raises:
            DatasetError: if they are not finite numbers.
        """
        return self._values(record, "timestamp", Feature("float64", (1,)), None).reshape(-1)

    def _values(self, record: EpisodeRecord, key: str, feature: Feature, part: slice | None) -> NDArray[Any]:
        start, stop = self.rows(record)
        path, place = record.data_path, (record.data_path, key, feature.dtype)
        if place not in self._uneven:
            try:
                column = self._column(path, key, feature)
            except BadColumnError as error:
                if error.row is None:
                    raise self._not_as_declared(error, path, key, feature, 0) from None
                self._uneven.add(place)
            else:
                self._refuse_short(path, key, len(column), stop)
                if place not in self._finite:
                    self._finite[place] = _are_finite(column)
                value = column[start:stop] if part is None else column[start:stop, part]
                if not self._finite[place]:
                    self._refuse_non_finite(value, path, key, start)
                return value
        rows = self._uneven_rows(path, key)
        self._refuse_short(path, key, len(rows), stop)
        try:
            value = numbers(rows.slice(start, stop - start), feature.shape, feature.dtype, part)
        except BadColumnError as error:
            raise self._not_as_declared(error, path, key, feature, start) from None
        self._refuse_non_finite(value, path, key, start)
        return value

    def picture(self, record: EpisodeRecord, key: str, step: int) -> NDArray[Any]:
        """Return (H, W, 3) uint8 RGB of a camera, or (H, W, 1) float32 metres of a depth stream, out of a parquet file.

        Raises:
            DatasetError: if there is none in this row, or it is damaged or not what is declared.
        """
        feature, where = self._meta.features[key], self._where(record, key, step)
        stored = self.stored_picture(record, key, step)
        if isinstance(stored, bytes):
            if feature.depth is not None:
                return decode_depth(stored, feature, where)
            return decode_image(stored, feature.shape, where)
        if feature.depth is not None:
            return metres(stored, feature.depth, where)
        full = self._full_brightness(key) if np.issubdtype(stored.dtype, np.floating) else None
        return rgb_of_numbers(stored[None], feature, where, full)[0]

    def _full_brightness(self, key: str) -> float | None:
        if key not in self._full:
            paths = dict.fromkeys(record.data_path for record in self._meta.episodes)
            self._full[key] = full_brightness(paths, key)
        return self._full[key]

    def check_picture(self, record: EpisodeRecord, key: str, step: int) -> None:
        """Check a picture's header, or its numbers.

        Raises:
            DatasetError: as `picture`, but for damage behind the header.
        """
        stored, where = self.stored_picture(record, key, step), self._where(record, key, step)
        if isinstance(stored, bytes):
            check_encoded(stored, self._meta.features[key], where)
        else:
            self.picture(record, key, step)

    def stored_picture(self, record: EpisodeRecord, key: str, step: int) -> bytes | NDArray[Any]:
        """Return a picture as it is stored: encoded, in the parquet file or in one beside it that it names, or as
        numbers.

        Raises:
            DatasetError: if there is none.
        """
        path, row = record.data_path, self.rows(record)[0] + step
        group_starts = self._group_starts(path)
        group = int(np.searchsorted(group_starts, row, side="right")) - 1
        place = row - int(group_starts[group])
        pictures = self._pictures(path, key, group)
        self._refuse_short(path, key, int(group_starts[group]) + len(pictures), row + 1)
        if is_list(plain_type(pictures.type)):
            return self._numbers_of_picture(pictures.slice(place, 1), record, key, step)
        stored = pictures[place].as_py()
        if isinstance(stored, dict):
            stored = stored.get("bytes") or stored.get("path")
        if isinstance(stored, str) and stored:
            stored = self._file_beside(path, stored, row)
        if not stored:
            raise DatasetError(
                f"{self._where(record, key, step)}: null, no picture; remove its episode {record.index}, or leave the "
                "camera out of what is read"
            )
        if not isinstance(stored, bytes):
            raise DatasetError(
                f"{self._where(record, key, step)}: a {type(stored).__name__}, no encoded picture; store the bytes of "
                "a PNG or JPEG file"
            )
        return stored

    def _numbers_of_picture(self, value: pa.Array, record: EpisodeRecord, key: str, step: int) -> NDArray[Any]:
        feature = self._meta.features[key]
        height, width, channels = feature.shape
        try:
            if feature.depth is not None:
                return numbers(value, feature.shape, "float64")[0]
            stored = nested(value)[0]
        except BadColumnError as error:
            raise DatasetError(
                f"{self._where(record, key, step)}: {error}; correct it, or the shape in meta/info.json"
            ) from None
        if stored.ndim == 1 and stored.size in (height * width, height * width * 3):
            channels = stored.size // (height * width)
            stored = stored.reshape(
                (channels, height, width) if feature.is_channels_first else (height, width, channels)
            )
        return stored[..., None] if stored.shape == (height, width) else stored

    def _file_beside(self, path: Path, name: str, row: int) -> bytes:
        """The file of a picture, whose path counts from the dataset's root, or else from the parquet file's folder."""
        if len(name) > _LONGEST_PATH:
            raise DatasetError(
                f"{path}: row {row} has a text of {len(name)} characters ({name[:20]!r}...), which is no path of a "
                "picture; store the bytes of a PNG or JPEG file"
            )
        for folder in (self._meta.root, path.parent):
            for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
                if not (folder / spelling).is_file():
                    continue
                relative = os.path.relpath(folder, self._meta.root)
                named = spelling if relative == "." else f"{relative}/{spelling}"
                said_by = f"{path} row {row} has a picture in"
                remedy = "copy the picture into the dataset, and its path there into the row"
                place = inside(self._meta.root, named, said_by=said_by, remedy=remedy, error=DatasetError)
                return read_bytes(place, remedy="copy it again", error=DatasetError, most_bytes=MOST_PICTURE_BYTES)
        raise DatasetError(
            f"{self._meta.root / name}: missing, though {path} row {row} refers to it; copy the dataset again"
        )

    def _where(self, record: EpisodeRecord, key: str, step: int) -> str:
        return f"{record.data_path}: {key!r} row {self.rows(record)[0] + step}"

    def _feature(self, key: str) -> Feature:
        """What a column is declared as; whatever is declared, a dataset has the columns that its writer fills in."""
        return self._meta.features.get(key) or Feature("float32" if key == "timestamp" else "int64", (1,))

    def _episode_of(self, path: Path, row: int) -> str:
        runs = [(index, run) for index, found in self._runs.get(path, {}).items() for run in found]
        return next((f" (episode {index})" for index, (start, stop) in runs if start <= row < stop), "")

    @staticmethod
    def _refuse_short(path: Path, key: str, rows: int, wanted: int) -> None:
        if rows < wanted:
            raise DatasetError(
                f"{path}: damaged, column {key!r} ends after {rows} rows, where 'episode_index' has at least {wanted}; "
                "copy it again"
            )

    def _refuse_non_finite(self, values: NDArray[Any], path: Path, key: str, first_row: int) -> None:
        if _are_finite(values):
            return
        rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        bad = values.reshape(len(values), -1)[rows[0]]
        row = first_row + int(rows[0])
        raise DatasetError(
            f"{path}: {key!r} has {bad[~np.isfinite(bad)][0]} in row {row}{self._episode_of(path, row)} "
            f"({len(rows)} such row{'s' if len(rows) > 1 else ''}); remove those episodes or repair the values"
        )

    def _not_as_declared(
        self, error: BadColumnError, path: Path, key: str, feature: Feature, first_row: int
    ) -> DatasetError:
        row = None if error.row is None else first_row + error.row
        where = "" if row is None else f" in row {row}{self._episode_of(path, row)}"
        if key in BOOKKEEPING:  # times are read as float64, whatever is declared
            feature = self._feature(key)
        return DatasetError(
            f"{path}: column {key!r} {error}{where}, but meta/info.json declares {feature.dtype} of shape "
            f"{list(feature.shape)}; correct the one that is wrong"
        )

    def _episode_runs(self, path: Path) -> dict[int, list[tuple[int, int]]]:
        """First row and the row after the last, by episode; more than once where its rows lie apart."""
        runs: dict[int, list[tuple[int, int]]] = {}
        feature = self._feature("episode_index")
        try:
            index = self._column(path, "episode_index", feature).reshape(-1)
        except BadColumnError as error:
            raise self._not_as_declared(error, path, "episode_index", feature, 0) from None
        edges = np.flatnonzero(np.diff(index)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(index)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            if stop > start:
                runs.setdefault(int(index[start]), []).append((start, stop))
        return runs

    def _group_starts(self, path: Path) -> NDArray[np.int64]:
        if path not in self._row_groups:
            with open_parquet(path) as file:
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._row_groups[path] = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return self._row_groups[path]

    def _column(self, path: Path, key: str, feature: Feature) -> NDArray[Any]:
        """All rows of a file.

        Raises:
            BadColumnError: if one of them is not as declared.
        """
        cached = self._cache.get((path, key, feature.dtype))
        if cached is None:
            cached = numbers(self.stored(path, key), feature.shape, feature.dtype)
            self._cache.put((path, key, feature.dtype), cached)
        return cached

    def _uneven_rows(self, path: Path, key: str) -> pa.Array:
        """All rows of a file that are not all as declared, as they are stored."""
        cached = self._cache.get((path, key, "stored"))
        if cached is None:
            cached = self.stored(path, key)
            self._cache.put((path, key, "stored"), cached)
        return cached

    def stored(self, path: Path, key: str) -> pa.Array:
        """Return all rows of a file as they are stored; nothing of it is kept.

        Raises:
            DatasetError: if the file is missing or damaged, or has no such column, or several.
        """
        if self.is_at_hand(path, key):
            assert self._together is not None
            return self._together[1][key].combine_chunks()
        return read_columns(path, [key]).column(key).combine_chunks()

    def is_at_hand(self, path: Path, key: str) -> bool:
        """Return whether no file has to be opened for a column."""
        return self._together is not None and self._together[0] == path and key in self._together[1]

    def read_together(self, path: Path, keys: Collection[str]) -> None:
        """Read all these columns of a small file at its first use, as opening it costs more than they do.

        Raises:
            DatasetError: if the file is truncated.
        """
        if path not in self._runs and path.is_file() and path.stat().st_size <= _SMALL_FILE:
            self._together = (path, read_present(path, keys))

    def _pictures(self, path: Path, key: str, group: int) -> pa.Array:
        cached = self._cache.get((path, key, group))
        if cached is None:
            cached = plain_array(read_columns(path, [key], [group]).column(key))
            self._cache.put((path, key, group), cached)
        return cached


def _are_finite(values: NDArray[Any]) -> bool:
    return not np.issubdtype(values.dtype, np.floating) or bool(np.isfinite(values).all())
