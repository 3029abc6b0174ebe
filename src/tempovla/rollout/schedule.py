"""Which row of a vector environment plays which episode."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Schedule:
    """Hands out episodes so that a row seldom changes its task, since another task needs another simulator model.

    Rows are spread evenly over the episodes in the given order, so that rows of one task are neighbours and share a
    worker's graphics memory. A row whose task has no episodes left takes those of the task with most of them waiting.

    Args:
        tasks: the task of every episode.
        num_rows: number of rows.
    """

    def __init__(self, tasks: Sequence[str], num_rows: int) -> None:
        self._waiting: dict[str, deque[int]] = {}
        for episode, task in enumerate(tasks):
            self._waiting.setdefault(task, deque()).append(episode)
        self._task_of_row = [tasks[row * len(tasks) // num_rows] for row in range(num_rows if tasks else 0)]

    def take(self, row: int) -> int | None:
        """Return the next episode of a row, or None if none is left."""
        if not self._waiting:
            return None
        task = self._task_of_row[row]
        if task not in self._waiting:
            task = self._task_of_row[row] = max(self._waiting, key=lambda name: len(self._waiting[name]))
        episode = self._waiting[task].popleft()
        if not self._waiting[task]:
            del self._waiting[task]
        return episode

    def __bool__(self) -> bool:
        return bool(self._waiting)
