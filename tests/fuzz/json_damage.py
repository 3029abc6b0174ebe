"""Damage to what a JSON or YAML file says, and not to its syntax."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    1e308,
    2**63,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud83d",
    "a\nb\x00c",
    "../../victim",
    "/etc/passwd",
    "{episode_index:900000000d}",
    "%s {0} {x}",
    [],
    {},
    [None],
    [[]],
    {"a": {"b": []}},
    ["x", 1, None],
    [1e9, 1e9, 3],
    [1000000, 1000000, 3],
    "y" * 200_000,
)
DEPTH = 1_000


NESTED = "<nested>"
"""Stands for lists in lists, deeper than Python's own encoder goes."""


def write_nested(text: str) -> str:
    """A text of JSON or YAML, with lists in lists where `NESTED` stands."""
    brackets = "[" * DEPTH + "]" * DEPTH
    return text.replace(f'"{NESTED}"', brackets).replace(NESTED, brackets)


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value, the containers being changeable."""
    found: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        found += [(data, key) for key in data]
        children = list(data.values())
    elif isinstance(data, list):
        found += [(data, index) for index in range(len(data))]
        children = data[:]
    else:
        return found
    for child in children:
        found += places(child)
    return found


def _set(value: Any) -> Callable[[Any, Any], None]:
    def change(container: Any, key: Any) -> None:
        container[key] = value

    return change


def _delete(container: Any, key: Any) -> None:
    del container[key]


def _repeat(container: Any, key: Any) -> None:
    if isinstance(container, list):
        container.insert(key, container[key])
    else:
        container[f"{key} "] = container[key]


def _negate(container: Any, key: Any) -> None:
    value = container[key]
    container[key] = -value if isinstance(value, int | float) else [value]


def _enlarge(container: Any, key: Any) -> None:
    value = container[key]
    container[key] = value * 100_000_000 + 7 if isinstance(value, int | float) else str(value) * 3


def damage_value(data: Any, random: Random) -> str:
    """Change one place of a value; tell what was done."""
    found = places(data)
    if not found:
        return "nothing"
    container, key = random.choice(found)
    changes: list[tuple[str, Callable[[Any, Any], None]]] = [
        ("delete", _delete),
        ("delete", _delete),
        ("repeat", _repeat),
        ("negate", _negate),
        ("enlarge", _enlarge),
        ("nest", _set(NESTED)),
    ]
    odd = random.choice(ODD_VALUES)
    name, change = random.choice([*changes, *[(f"set {str(odd)[:40]!r}", _set(odd))] * len(changes)])
    change(container, key)
    return f"{name} at {key!r}"


def damage_json(path: Path, random: Random) -> str:
    """Change one value of a JSON file, of one line of a file of lines."""
    text = path.read_text(encoding="utf-8")
    if random.random() < 0.05:
        path.write_text("[" * 100_000)
        return "100,000 brackets"
    if path.suffix == ".jsonl":
        lines = text.splitlines()
        if not lines:
            return "nothing"
        number = random.randrange(len(lines))
        data = [json.loads(lines[number])]
        told = damage_value(data, random)
        lines[number : number + 1] = [json.dumps(item) for item in data]
        path.write_text(write_nested("".join(f"{line}\n" for line in lines)), encoding="utf-8")
        return f"line {number + 1}: {told}"
    data = [json.loads(text)]
    told = damage_value(data if random.random() < 0.05 else data[0], random)
    path.write_text(write_nested(json.dumps(data[0] if data else None)), encoding="utf-8")
    return told


BILLION = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def damage_yaml(path: Path, random: Random) -> str:
    """Change one value of a YAML file."""
    data = yaml.safe_load(path.read_text())
    choice = random.random()
    if choice < 0.05:
        path.write_text(path.read_text() + BILLION)
        return "aliases of aliases"
    if choice < 0.1:
        path.write_text(path.read_text() + "!!python/object/apply:os.system ['touch canary']\n")
        return "a python tag"
    told = damage_value(data, random)
    path.write_text(write_nested(yaml.safe_dump(data)))
    return told
