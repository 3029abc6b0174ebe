"""Instructions of other tasks, to test whether a policy follows its instruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def other_tasks(tasks: Sequence[str], spare: Sequence[str], words: Callable[[str], str]) -> dict[str, str]:
    """Return for each task another task with other words, to test whether a policy follows its instruction.

    That is the next of them in a circle whose words are not the task's own; if there is none, the first such spare one.

    Args:
        tasks: those evaluated.
        spare: further tasks.
        words: returns the instruction of a task.

    Raises:
        ValueError: if a task is alone with its words.
    """
    others = {}
    for index, task in enumerate(tasks):
        candidates = (*tasks[index + 1 :], *tasks[:index], *spare)
        other = next((other for other in candidates if words(other).casefold() != words(task).casefold()), None)
        if other is None:
            raise ValueError(
                f"{task}: no other task is worded differently, so no wrong instruction can be told; drop it"
            )
        others[task] = other
    return others
