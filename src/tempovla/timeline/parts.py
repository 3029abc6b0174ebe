"""Parts of streams: which dimensions of which streams are joined into one, in which order.

Nothing here imports torch: configs and simulator workers load this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tempovla.timeline.config import config_from_json

_PART = re.compile(r"(?P<key>[^\[\],]+?)\s*(?:\[\s*(?P<start>-?\d*)\s*(?P<colon>:?)\s*(?P<stop>-?\d*)\s*\])?")
_BETWEEN = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class StreamPart:
    """Consecutive dimensions of one stream of vectors.

    Attributes:
        key: name of the stream.
        size: how many dimensions the whole stream has.
        start: first dimension that is taken.
        stop: the dimension behind the last one that is taken.
    """

    key: str
    size: int
    start: int
    stop: int

    @property
    def width(self) -> int:
        """How many dimensions are taken."""
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """Whether no dimension is left out."""
        return self.width == self.size

    def __str__(self) -> str:
        return self.key if self.is_whole else f"{self.key}[{self.start}:{self.stop}]"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamPart:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is something else, or takes dimensions that the stream does not have.
        """
        part = config_from_json(cls, data, "part of a stream")
        if not 0 <= part.start < part.stop <= part.size:
            raise ValueError(
                f"part {part.key}[{part.start}:{part.stop}] is not within the {part.size} dimensions there are"
            )
        return part


@dataclass(frozen=True)
class WantedPart:
    """A part as a user writes it, before the size of its stream is known.

    Attributes:
        key: name of the stream.
        start: first dimension, counted from the end where it is negative; None is the first of all.
        stop: the dimension behind the last one, counted likewise; None takes all that follow.
    """

    key: str
    start: int | None = None
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all dimensions are wanted."""
        return self.start is None and self.stop is None

    def __str__(self) -> str:
        if self.is_whole:
            return self.key
        start, stop = ("" if bound is None else str(bound) for bound in (self.start, self.stop))
        return f"{self.key}[{start}:{stop}]"

    def of_size(self, size: int) -> StreamPart:
        """Return the part of a stream that has `size` dimensions.

        Raises:
            ValueError: if it reaches beyond them, or is empty.
        """
        start = 0 if self.start is None else self.start + (size if self.start < 0 else 0)
        stop = size if self.stop is None else self.stop + (size if self.stop < 0 else 0)
        if not 0 <= start < stop <= size:
            raise ValueError(
                f"{self} does not lie within the {size} dimensions of {self.key!r}; choose from {self.key}[0:{size}]"
            )
        return StreamPart(self.key, size, start, stop)


def parse_parts(given: str | Sequence[str], option: str) -> tuple[WantedPart, ...]:
    """Read ``KEY``, ``KEY[START:STOP]``, ``KEY[DIMENSION]``, or several of these as a list or with commas between them.

    Args:
        given: what the user wrote.
        option: what it was given as, for the message, e.g. ``data.state_key``.

    Raises:
        ValueError: if it is not readable, or names nothing.
    """
    texts = _split(given) if isinstance(given, str) else list(given)
    parts = [_parse_part(text, option) for text in texts]
    if not parts:
        raise ValueError(f"{option}={given!r} names no stream; write a key, e.g. observation.state, or leave it out")
    return tuple(parts)


def _split(text: str) -> list[str]:
    """The entries of a list that YAML did not read, as brackets within it need quotes there."""
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):
        stripped = stripped[1:-1]
    entries = [entry.strip() for entry in _BETWEEN.split(stripped)]
    return [entry.strip("'\"") for entry in entries] if any(entries) else []


def _parse_part(text: object, option: str) -> WantedPart:
    match = _PART.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or not _is_sound(match):
        raise ValueError(
            f"{option}: {text!r} is not readable; write KEY or KEY[START:STOP], e.g. observation.state[0:7], or a list "
            "of these"
        )
    start, stop = (int(match[name]) if match[name] else None for name in ("start", "stop"))
    if match["colon"] or start is None:
        return WantedPart(match["key"], start, stop)
    return WantedPart(match["key"], start, start + 1 if start != -1 else None)


def _is_sound(match: re.Match[str]) -> bool:
    """Whether what stands in the brackets, if there are any, is one number or a range."""
    if match["colon"] is None:
        return True
    if "-" in (match["start"], match["stop"]):
        return False
    return bool(match["colon"]) or (bool(match["start"]) and not match["stop"])
