"""Values of other kinds in the place of every value of a JSON file, one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

OTHERS: tuple[Any, ...] = (None, -1, 1.5, 2**70, "x", [], {}, True)
DELETED = "<deleted>"


def places(data: Any, alike: int, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values inside a value."""
    children: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list):
        children = list(enumerate(data))[:alike]
    for key, child in children:
        yield (*path, key)
        yield from places(child, alike, (*path, key))


def variants(data: Any, alike: int = 2) -> Iterator[tuple[str, Any]]:
    """Every changed form of a value, and what was changed.

    Args:
        data: plain JSON values.
        alike: entries of a list that are changed; further ones are like these.
    """
    for path in places(data, alike):
        own = data
        for key in path:
            own = own[key]
        for other in (*OTHERS, [own], DELETED):
            if type(other) is type(own) and other == own:
                continue
            changed = copy.deepcopy(data)
            at = changed
            for key in path[:-1]:
                at = at[key]
            if other == DELETED:
                del at[path[-1]]
            else:
                at[path[-1]] = other
            yield f"{'.'.join(map(str, path))} = {str(other)[:30]}", changed
