"""Short names of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def task_labels(names: Sequence[str]) -> dict[str, str]:
    """Return the page's name of each task: LIBERO's `pick_up_the_milk_and_place_it_in_the_basket` becomes "milk".

    Names with underscores are told in words, without those that all names share at their beginning and at their end;
    at least one word of each is left. Other names, such as Meta-World's, stay as they are.
    """
    words = {name: name.split("_") for name in names}
    spare = min(map(len, words.values())) - 1 if len(words) > 1 else 0
    start = min(_shared(list(words.values())), spare)
    end = min(_shared([each[::-1] for each in words.values()]), spare - start)
    return {name: " ".join(each[start : len(each) - end]) for name, each in words.items()}


def _shared(lists: list[list[str]]) -> int:
    """How many words all begin with."""
    return len(list(takewhile(lambda column: len(set(column)) == 1, zip(*lists, strict=False))))
