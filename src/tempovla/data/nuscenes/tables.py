"""nuScenes' tables, read into columns: tokens become numbers of rows, and are looked up once.

Tables of the whole dataset have millions of records, of which objects of Python would take gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.files import are_finite, is_whole
from tempovla.data.nuscenes.layout import TABLES
from tempovla.storage.json_files import read_text, shown

REMEDY = "copy the tables again"
MOST_TABLE_BYTES = 8 << 30
"""The largest table of nuScenes, that of the sensors' readings, has 1.3 GB."""

_LENGTH_SLACK = 0.1
"""By how much the length of a quaternion may differ from 1."""
_BETWEEN = " \t\r\n"

Columns = Mapping[str, str]
"""Kinds of columns by name: `number`, `flag`, `text`, `list` (of anything), `vector N`, `rotation` (a quaternion),
`to TABLE` (a token there), `maybe TABLE` (a token there or "") and `many TABLE` (a list of tokens there).
"""

COLUMNS: dict[str, Columns] = {
    "log": {"logfile": "text", "vehicle": "text", "date_captured": "text", "location": "text"},
    "map": {"filename": "text", "log_tokens": "many log"},
    "visibility": {"level": "text"},
    "attribute": {"name": "text"},
    "category": {"name": "text"},
    "sensor": {"channel": "text", "modality": "text"},
    "calibrated_sensor": {
        "sensor_token": "to sensor",
        "translation": "vector 3",
        "rotation": "rotation",
        "camera_intrinsic": "list",
    },
    "ego_pose": {"timestamp": "number", "translation": "vector 3", "rotation": "rotation"},
    "scene": {"name": "text", "description": "text", "log_token": "to log", "nbr_samples": "number"},
    "sample": {"timestamp": "number", "scene_token": "to scene", "next": "maybe sample"},
    "sample_data": {
        "sample_token": "to sample",
        "ego_pose_token": "to ego_pose",
        "calibrated_sensor_token": "to calibrated_sensor",
        "timestamp": "number",
        "is_key_frame": "flag",
        "height": "number",
        "width": "number",
        "filename": "text",
        "next": "maybe sample_data",
    },
    "instance": {"category_token": "to category"},
    "sample_annotation": {
        "sample_token": "to sample",
        "instance_token": "to instance",
        "visibility_token": "maybe visibility",
        "attribute_tokens": "many attribute",
        "translation": "vector 3",
        "size": "vector 3",
        "rotation": "rotation",
        "num_lidar_pts": "number",
        "num_radar_pts": "number",
    },
}
"""What is read of each table, in an order in which tokens lead to tables that are there already or to the same one."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of the table.
        path: its file.
        tokens: (N,) tokens of the records.
        columns: (N, ...) arrays by column; tokens of other tables are numbers of rows, -1 for none. Columns of lists
            are lists.
    """

    name: str
    path: Path
    tokens: NDArray[np.bytes_]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, column: str) -> Any:
        return self.columns[column]

    def token(self, row: int) -> str:
        """Return the token of a record."""
        return self.tokens[row].decode()

    def told(self, row: int) -> str:
        """Return the record in words, for messages: its file, table and token."""
        return f"{self.path}: {self.name} {self.token(row)!r}"


@dataclass(frozen=True)
class Tables:
    """The tables of one version.

    Attributes:
        root: the folder that the names of files start from.
        version: name of the folder of tables in it.
        tables: by name.
    """

    root: Path
    version: str
    tables: Mapping[str, Table]

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]


def find_version(root: Path, version: str | None = None) -> str:
    """Return the name of the folder of tables: the one that is asked for, or the only one.

    Raises:
        DatasetError: if there is none, or several to choose from.
    """
    found = sorted(path.name for path in root.glob("v1.0-*") if path.is_dir())
    if version is not None:
        if version not in found:
            raise DatasetError(f"{root}: has no tables of version {version!r}; it has {', '.join(found) or 'none'}")
        return version
    if not found:
        raise DatasetError(f"{root}: has no folder v1.0-* of nuScenes' tables; give the folder that holds one")
    if len(found) > 1:
        raise DatasetError(f"{root}: has tables of {', '.join(found)}; choose one of them as the version")
    return found[0]


def read_tables(root: Path, version: str) -> Tables:
    """Read all thirteen tables.

    Args:
        root: the folder that holds that of the tables.
        version: name of the folder of tables.

    Raises:
        DatasetError: naming the file, the table and the token, if a table is missing or not readable, a record lacks
            something or has a value of another kind, its token is there twice, or leads nowhere.
    """
    folder = root / version
    missing = [name for name in TABLES if not (folder / f"{name}.json").is_file()]
    if missing:
        files = ", ".join(f"{name}.json" for name in missing)
        raise DatasetError(f"{folder}: lacks {files} of nuScenes' {len(TABLES)} tables; {REMEDY}")
    reader = _Reader()
    return Tables(root, version, {name: reader.read(name, folder / f"{name}.json") for name in COLUMNS})


class _Reader:
    """Reads tables one after the other, and knows the tokens of those before."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, int]] = {}
        self._paths: dict[str, Path] = {}

    def read(self, name: str, path: Path) -> Table:
        """Read one table."""
        kinds = COLUMNS[name]
        tokens: list[str] = []
        values: dict[str, list[Any]] = {column: [] for column in kinds}
        adders = [(column, values[column].append) for column in kinds]
        for number, record in enumerate(_records(path)):
            own = record.get("token")
            if not isinstance(own, str) or not own:
                raise DatasetError(f"{path}: record {number} of {name} has no token; {REMEDY}")
            tokens.append(own)
            try:
                for column, add in adders:
                    add(record[column])
            except KeyError:
                raise DatasetError(f"{path}: {name} {own!r} has no {column}; {REMEDY}") from None
        rows = {token: row for row, token in enumerate(tokens)}
        if len(rows) < len(tokens):
            twice = next(token for row, token in enumerate(tokens) if rows[token] != row)
            raise DatasetError(f"{path}: token {twice!r} of {name} is there twice; {REMEDY}")
        self._rows[name], self._paths[name] = rows, path
        columns = {
            column: self._column(
                kind, values[column], lambda row, column=column: f"{path}: {name} {tokens[row]!r}: {column}"
            )
            for column, kind in kinds.items()
        }
        return Table(name, path, np.array([token.encode() for token in tokens], dtype="S"), columns)

    def _column(self, kind: str, values: list[Any], where: Any) -> Any:
        kind, _, rest = kind.partition(" ")
        if kind == "vector":
            return _vectors(values, int(rest), where)
        if kind == "rotation":
            return _rotations(values, where)
        if kind in ("number", "flag", "text"):
            return _plain(values, kind, where)
        if kind == "list":
            bad = next((row for row, value in enumerate(values) if not isinstance(value, list)), None)
            if bad is not None:
                raise DatasetError(f"{where(bad)} is {shown(values[bad])}, not a list; {REMEDY}")
            return values
        if kind == "many":
            lists = self._column("list", values, where)
            return [[self._row(rest, token, where, row) for token in tokens] for row, tokens in enumerate(lists)]
        known = self._rows[rest]
        try:
            rows = np.array([known.get(token, -1) for token in values], dtype=np.int64)
        except TypeError:  # a list in place of a token
            rows = np.full(len(values), -1)
        for row in np.flatnonzero(rows < 0).tolist():
            if kind != "maybe" or values[row] != "":
                self._row(rest, values[row], where, row)
        return rows

    def _row(self, table: str, token: Any, where: Any, row: int) -> int:
        found = self._rows[table].get(token) if isinstance(token, str) else None
        if found is None:
            raise DatasetError(
                f"{where(row)} is {shown(token)}, a token that {self._paths[table].name} does not have; {REMEDY}"
            )
        return found


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a list, one at a time, so that a large table is never held as objects."""
    text = read_text(path, remedy=REMEDY, error=DatasetError, most_bytes=MOST_TABLE_BYTES)
    decode = json.JSONDecoder().raw_decode
    place = _skip(text, 0)
    if text[place : place + 1] != "[":
        raise DatasetError(f"{path}: is not a list of records; {REMEDY}")
    place = _skip(text, place + 1)
    while text[place : place + 1] != "]":
        try:
            record, place = decode(text, place)
        except (ValueError, RecursionError):
            line = text.count("\n", 0, place) + 1
            raise DatasetError(f"{path}: not readable as JSON from line {line} on; {REMEDY}") from None
        if not isinstance(record, dict):
            raise DatasetError(f"{path}: holds {shown(record)}, not records alone; {REMEDY}")
        yield record
        place = _skip(text, place)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != "]":
            raise DatasetError(f"{path}: ends within the list, as if cut short; {REMEDY}")


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _BETWEEN:
        place += 1
    return place


def _vectors(values: list[Any], size: int, where: Any) -> NDArray[np.float64]:
    try:
        array = np.array(values, dtype=np.float64) if values else np.empty((0, size))
        if array.shape == (len(values), size) and np.isfinite(array).all():
            return array
    except (TypeError, ValueError, OverflowError):  # of other kinds or lengths, or too large
        pass
    for row, value in enumerate(values):
        numbers = isinstance(value, list) and all(isinstance(n, int | float) for n in value)
        if not numbers or len(value) != size or not are_finite(value):
            raise DatasetError(f"{where(row)} is {shown(value)}, not {size} finite numbers; {REMEDY}")
    raise AssertionError("one of the vectors is unsound")


def _rotations(values: list[Any], where: Any) -> NDArray[np.float64]:
    """Quaternions (N, 4), which readers normalise: rounded ones are sound, but none of another length tells a turn."""
    array = _vectors(values, 4, where)
    lengths = np.hypot.reduce(array, axis=1)  # without overflow
    for row in np.flatnonzero(np.abs(lengths - 1.0) > _LENGTH_SLACK).tolist():
        raise DatasetError(f"{where(row)} is {shown(values[row])}, not a quaternion of length 1; {REMEDY}")
    return array


_TYPES: dict[str, tuple[type, Any, str]] = {
    "number": (int, np.int64, "a whole number"),
    "flag": (bool, np.bool_, "true or false"),
    "text": (str, object, "a text"),
}


def _plain(values: list[Any], kind: str, where: Any) -> NDArray[Any]:
    python, dtype, words = _TYPES[kind]
    for row, value in enumerate(values):
        # arrays of texts drop "\0" at their ends, so that names would no longer be told apart
        if (
            type(value) is not python
            or (python is str and "\0" in str(value))
            or (python is int and not is_whole(value))
        ):
            raise DatasetError(f"{where(row)} is {shown(value)}, not {words}; {REMEDY}")
    return np.array(values, dtype=dtype)
