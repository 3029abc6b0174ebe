"""The words of LeRobot datasets: a map from `task_index`, and the `task_index` of every row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tempovla.data.availability import is_list
from tempovla.data.columns import Columns
from tempovla.data.errors import DatasetError
from tempovla.data.layout import DatasetMeta, EpisodeRecord
from tempovla.data.numbers import whole_number
from tempovla.data.parquet import MissingColumnError, single_value
from tempovla.data.words import LONGEST_WORDS, has_words

LOGGER = logging.getLogger(__name__)

_COLUMN = "task_index"
_NO_TASK = np.iinfo(np.int64).min
"""Stands for a null."""


def task_map(entries: Iterable[tuple[Any, Any]], path: Path) -> dict[int, str]:
    """Return words by `task_index`, from the entries of the file `path`; what has no words is "".

    Raises:
        DatasetError: if an index is no whole number or stands for two things, or the words are no text.
    """
    tasks: dict[int, str] = {}
    for number, (given, words) in enumerate(entries, start=1):
        index = whole_number(given)
        if index is None:
            raise DatasetError(f"{path}: entry {number} has task_index {given!r}; write a whole number")
        if words is not None and not isinstance(words, str):
            raise DatasetError(f"{path}: task {index} is {words!r}, not text; write the instruction there")
        if words is not None and len(words) > LONGEST_WORDS:
            raise DatasetError(
                f"{path}: task {index} is a text of {len(words):,} characters, {words[:40]!r}...; shorten it to "
                f"{LONGEST_WORDS:,} at the most"
            )
        if tasks.get(index, words or "") != (words or ""):
            raise DatasetError(
                f"{path}: task_index {index} stands for {tasks[index]!r} and for {words!r}; give one of them another "
                "index, in the rows too, or remove it"
            )
        tasks[index] = words or ""
    return tasks


def tasks_of_episode(given: Any, where: str) -> tuple[str | int, ...]:
    """Return an episode's entry `tasks`: words, or task indices, from a list, a single one, or nothing.

    Raises:
        DatasetError: if it is anything else.
    """
    found: list[str | int] = []
    for item in given if isinstance(given, list) else [given]:
        index = whole_number(item) if not isinstance(item, str) else None
        if isinstance(item, str):
            if len(item) > LONGEST_WORDS:
                raise DatasetError(
                    f"{where}: 'tasks' holds a text of {len(item):,} characters, {item[:40]!r}...; shorten it to "
                    f"{LONGEST_WORDS:,} at the most"
                )
            found.append(item)
        elif index is not None:
            found.append(index)
        elif item is not None:
            raise DatasetError(f"{where}: 'tasks' holds {item!r}; write a list of instructions there")
    return tuple(found)


class RowTasks:
    """The words of every row of a dataset.

    Args:
        meta: of the dataset.
        columns: which rows are whose.
    """

    def __init__(self, meta: DatasetMeta, columns: Columns) -> None:
        self._meta = meta
        self._columns = columns
        self._last: tuple[Path, NDArray[np.int64] | None] | None = None
        self._single: dict[Path, int | None] = {}

    def index(self, record: EpisodeRecord) -> NDArray[np.int64] | None:
        """Return (length,) `task_index` of the rows of an episode; None where its file has no such column.

        Raises:
            DatasetError: if the column holds no whole numbers, or the file is missing or damaged.
        """
        if self._last is None or self._last[0] != record.data_path:
            self._last = (record.data_path, self._read_index(record.data_path))
        start, stop = self._columns.rows(record)
        column = self._last[1]
        return None if column is None else column[start:stop]

    def expected(self, record: EpisodeRecord) -> str | None:
        """Return the words of all rows of an episode as ``meta/`` has them, where only a faulty row could say
        otherwise.

        That is where there is but one task, which the episode lists alone. No file is opened. None where the rows
        must be asked; what they say is `words`.
        """
        tasks = self._meta.tasks
        if tasks is None or len(tasks) != 1 or len(record.tasks) != 1:
            return None
        ((number, words),) = tasks.items()
        is_told = has_words(words) and record.tasks[0] in (number, words)
        return words if is_told and self._meta.default_instruction in ("", words) else None

    def words(self, record: EpisodeRecord) -> str | tuple[str, ...]:
        """Return the words of all rows of an episode where they are the same, else (length,) one for each; "" for no
        words.

        A row's words are those of its own `task_index`. The episode's entry under `tasks` says only which occur; it
        is asked where the rows or ``meta/tasks`` do not tell, and then may hold but one.

        Raises:
            DatasetError: if a row has an index that stands for nothing, or nothing tells which words are a row's.
        """
        number = self._single_index(record)
        if number is not None and self._meta.tasks is not None and number in self._meta.tasks:
            told = {number: self._meta.tasks[number]}
            self._warn_of_others(record, told.values())
            return self._or_default(told[number])
        index = self.index(record)
        if index is None or self._meta.tasks is None:
            if index is not None and len(set(index.tolist())) > 1:
                raise DatasetError(
                    f"{self._tasks_path}: missing, though {record.data_path} has several task_index in episode "
                    f"{record.index}, {sorted(set(index.tolist()))[:4]}; restore the file"
                )
            return self._or_default(self._only_words(record))
        told = {number: self._told(number, record, index) for number in dict.fromkeys(index.tolist())}
        self._warn_of_others(record, told.values())
        told = {number: self._or_default(words) for number, words in told.items()}
        if len(set(told.values())) == 1:
            return next(iter(told.values()))
        return tuple(told[number] for number in index.tolist())

    def _single_index(self, record: EpisodeRecord) -> int | None:
        """The `task_index` of all rows of an episode's file, where its footer tells it."""
        path = record.data_path
        if path not in self._single:
            is_read = self._columns.is_at_hand(path, _COLUMN) or (self._last is not None and self._last[0] == path)
            self._single[path] = None if is_read else single_value(path, _COLUMN)
        return self._single[path]

    def _or_default(self, words: str) -> str:
        return words if has_words(words) else self._meta.default_instruction or words

    def _warn_of_others(self, record: EpisodeRecord, told: Iterable[str]) -> None:
        known = self._meta.tasks or {}
        listed = {known.get(task, "") if isinstance(task, int) else task for task in record.tasks}
        other = [words for words in told if words and words not in listed]
        if other and listed - {""}:
            LOGGER.warning(
                "%s: episode %d has the instruction %r by its task_index, but meta/ lists only the tasks %s; the rows "
                "count",
                record.data_path,
                record.index,
                other[0],
                sorted(listed),
            )

    @property
    def _tasks_path(self) -> Path:
        return self._meta.root / "meta" / ("tasks.parquet" if self._meta.version == "v3.0" else "tasks.jsonl")

    def _told(self, number: int, record: EpisodeRecord, index: NDArray[np.int64]) -> str:
        assert self._meta.tasks is not None
        if number == _NO_TASK:
            return ""
        if number not in self._meta.tasks:
            row = self._columns.rows(record)[0] + int(np.argmax(index == number))
            raise DatasetError(
                f"{record.data_path}: episode {record.index} row {row} has task_index {number}, which is not in "
                f"{self._tasks_path} (it has {_some(self._meta.tasks)}); add its words there, or correct the row"
            )
        return self._meta.tasks[number]

    def _only_words(self, record: EpisodeRecord) -> str:
        """The words of an episode whose rows do not tell."""
        where = f"{self._meta.root}: episode {record.index}"
        if len(record.tasks) > 1:
            what = "has no column task_index" if self._meta.tasks is not None else f"goes without {self._tasks_path}"
            raise DatasetError(
                f"{where} names {len(record.tasks)} tasks, {list(record.tasks)[:3]}, but {what}, so the task of a row "
                "is not known; leave one in its entry in meta/, or restore the column and the file"
            )
        for task in record.tasks:
            if isinstance(task, str):
                return task
            if self._meta.tasks is None or task not in self._meta.tasks:
                raise DatasetError(
                    f"{where} names task {task}, but {self._tasks_path} has no such task_index; add its words there"
                )
            return self._meta.tasks[task]
        return ""

    def _read_index(self, path: Path) -> NDArray[np.int64] | None:
        """(N,) of all rows of a file; None where there is no such column."""
        try:
            column: Any = self._columns.stored(path, _COLUMN)
        except MissingColumnError:
            return None
        rows = len(column)
        while is_list(column.type):
            column = column.flatten()
        kind = column.type
        if pa.types.is_integer(kind) and len(column) == rows:
            return column.cast(pa.int64(), safe=False).fill_null(_NO_TASK).to_numpy(zero_copy_only=False)
        indices = [_NO_TASK if value is None else whole_number(value) for value in column.to_pylist()]
        if len(indices) != rows or None in indices:
            row = indices.index(None) if None in indices else 0
            raise DatasetError(
                f"{path}: column {_COLUMN!r} ({kind}) has {column[row].as_py() if rows else None!r} in row {row}; each "
                "row needs one whole number there"
            )
        return np.array(indices, dtype=np.int64)


@dataclass
class KnownWords:
    """A cache of the words of episodes.

    Attributes:
        told: by `episode_index`, one sentence for all rows or (length,) one for each.
        unread: the episodes whose words are those that were expected of their rows, which nobody has read yet.
        given: the episodes whose words, row by row, somebody has used.
    """

    told: dict[int, str | tuple[str, ...]] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    given: set[int] = field(default_factory=set)

    def of(self, record: EpisodeRecord, tasks: RowTasks, *, is_read: bool) -> str | tuple[str, ...]:
        """See `RowTasks.words`; expected ones where the rows were not read before."""
        if record.index not in self.told:
            expected = None if is_read else tasks.expected(record)
            self.told[record.index] = tasks.words(record) if expected is None else expected
            if expected is not None:
                self.unread.add(record.index)
        return self.told[record.index]

    def settle(self, record: EpisodeRecord, tasks: RowTasks) -> None:
        """Compare the words that were expected of an episode with its rows, which are about to be used.

        Raises:
            DatasetError: if a row's index stands for nothing, or a row has none and somebody has used other words.
        """
        if record.index not in self.unread:
            return
        told = tasks.words(record)
        if told != self.told[record.index] and record.index in self.given:
            rows = (told,) * record.length if isinstance(told, str) else told
            step = next(step for step, words in enumerate(rows) if not has_words(words))
            raise DatasetError(
                f"{record.data_path}: episode {record.index} has no instruction at step {step} (its task_index is "
                "null); write it into the dataset, or give all such steps the same with --data.default_instruction "
                '"..."'
            )
        self.told[record.index] = told
        self.unread.discard(record.index)


def _some(tasks: Mapping[int, str]) -> str:
    numbers = sorted(tasks)
    return ", ".join(map(str, numbers[:6])) + (", ..." if len(numbers) > 6 else "") if numbers else "none"
