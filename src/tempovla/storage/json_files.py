"""Text and JSON in files, always as UTF-8, whatever the locale; errors take one line that names file and remedy.

JSON has no number for infinity, nor for what is no number. Whatever is written here has the texts "Infinity",
"-Infinity" and "NaN" in their place, so that every reader of JSON can read it; `json_number` makes numbers of them.

What is read is bounded before it is trusted: a file has to be one, and no larger than text of its kind ever is, and
values may be nested as deep as people and programs write them, so that whoever walks through them comes back.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tempovla.storage.paths import regular_file
from tempovla.storage.whole import write_text

MOST_TEXT_BYTES = 512 << 20
"""More than the metadata of a million episodes take; a file that is larger is none of ours."""
DEEPEST = 100
"""How many lists and objects may lie in each other. Python walks about ten times as deep before it gives up."""

_LFS = b"version https://git-lfs.github.com/spec/"
_OTHER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_BETWEEN = " \t\r\n\ufeff"
"""What JSON allows between values, and the mark of a file that was appended; other spaces, such as U+2028, end no line.
"""
_NOT_FINITE = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
_HEAD_BYTES = 4096
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_LONGEST_SHOWN = 60
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def to_json_text(data: Any, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Return plain values as JSON; numbers that are not finite become texts.

    Raises:
        TypeError: if a value is no plain one, such as a tensor.
    """
    try:
        return json.dumps(data, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def write_json(path: Path, data: Any, *, indent: int | None = 2) -> None:
    """Write plain values as a file of JSON, which appears as a whole; numbers that are not finite become texts.

    Raises:
        TypeError: if a value is no plain one; nothing is written then.
        NotWrittenError: if the disk does not take it.
    """
    write_text(path, to_json_text(data, indent=indent) + "\n")


def plain_json(data: Any) -> Any:
    """Return plain values as they will be read again: tuples as lists, numbers that are not finite as texts."""
    return json.loads(to_json_text(data))


def json_number(value: Any) -> Any:
    """Return the number that a text written in its place stands for; any other value as it is."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return paths in order, without hidden files such as the `._NAME` that macOS puts beside each file on foreign
    disks.
    """
    return sorted(path for path in paths if not path.name.startswith("."))


def is_lfs_pointer(path: Path) -> bool:
    """Return whether git-lfs left a note of a file there instead of the file."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False


def lfs_problem(path: Path) -> str:
    """Return the message about such a file."""
    return f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` in its folder"


def read_bytes(
    path: Path,
    *,
    remedy: str,
    error: type[ValueError] = ValueError,
    most_bytes: int = MOST_TEXT_BYTES,
    is_text: bool = False,
) -> bytes:
    """Return the contents of a file.

    Args:
        path: the file.
        remedy: advice if it is not readable.
        error: class of the error.
        most_bytes: refuse a file that is larger, before memory is taken for it.
        is_text: refuse a file that begins with zero bytes, as a crash of the machine leaves them in a text.

    Raises:
        ValueError: as `error`, if there is no such file, or a pipe, a device or a folder in its place, or it is too
            large.
    """
    try:
        with regular_file(path, remedy=remedy, error=error).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise error(f"{path}: has {size:,} bytes, where at most {most_bytes:,} make sense; {remedy}")
            head = file.read(_HEAD_BYTES)
            if is_text and b"\0" in head and head[:2] not in _OTHER_MARKS:
                raise error(f"{path}: holds zero bytes, which no text has; {remedy}")
            return head + file.read() if size > _HEAD_BYTES else head
    except OSError as problem:
        raise error(f"{path}: not readable ({problem.strerror}); {remedy}") from None


def read_text(
    path: Path, *, remedy: str, error: type[ValueError] = ValueError, most_bytes: int = MOST_TEXT_BYTES
) -> str:
    """Return a file as text, without a byte order mark.

    Args:
        path: the file.
        remedy: advice if it is not readable.
        error: class of the error.
        most_bytes: refuse a file that is larger, before memory is taken for it.

    Raises:
        ValueError: as `error`, if the file is missing, no file, too large, not UTF-8, or a pointer of git-lfs.
    """
    data = read_bytes(path, remedy=remedy, error=error, most_bytes=most_bytes, is_text=True)
    return _decoded(data, path, remedy, error)


def _decoded(data: bytes, path: Path, remedy: str, error: type[ValueError]) -> str:
    if data.startswith(_LFS):
        raise error(lfs_problem(path))
    if data[:2] in _OTHER_MARKS:
        raise error(f"{path}: is {_OTHER_MARKS[data[:2]]}; save it as UTF-8, or {remedy}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(f"{path}: line {line} is not UTF-8 ({problem.reason}); save it as UTF-8, or {remedy}") from None


def read_json(
    path: Path, *, remedy: str, error: type[ValueError] = ValueError, allow_nan: bool = True
) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        remedy: advice if it is not readable.
        error: class of the error.
        allow_nan: take NaN and Infinity, which Python writes and JSON does not know.

    Raises:
        ValueError: as `error`, if the file is missing, truncated, or holds anything but one object.
    """
    text = read_text(path, remedy=remedy, error=error)
    data = parse_json(text, f"{path}:", remedy=remedy, error=error, allow_nan=allow_nan)
    if not isinstance(data, dict):
        raise error(f"{path}: holds {what_it_is(data)}, not an object; {remedy}")
    return data


def parse_json(
    text: str, where: str, *, remedy: str, error: type[ValueError] = ValueError, allow_nan: bool = True
) -> Any:
    """Return the value of a JSON text; `where` begins messages about it.

    Raises:
        ValueError: as `error`, if it is cut off, nested without end, or holds half a character.
    """
    try:
        data = _decoder(allow_nan).decode(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} not readable as JSON ({_reason(problem)}); {remedy}") from None
    if _may_be_deep(text):
        _refuse_deep(data, where, remedy, error)
    _refuse_halves(data, text, where, error)
    return data


def read_json_lines(
    path: Path, *, remedy: str, error: type[ValueError] = ValueError, allow_nan: bool = True
) -> list[tuple[int, dict[str, Any]]]:
    """Return the JSON objects in a file, with the lines on which they start; they may lie on several lines each.

    Raises:
        ValueError: as `error`, if the file is missing or truncated, or holds anything but objects.
    """
    text = read_text(path, remedy=remedy, error=error)
    objects: list[tuple[int, dict[str, Any]]] = []
    decoder, place, line = _decoder(allow_nan), 0, 1
    has_escapes = _ESCAPED_HALF.search(text) is not None
    may_be_deep = _may_be_deep(text)
    while True:
        start = place
        while place < len(text) and text[place] in _BETWEEN:
            place += 1
        line += text.count("\n", start, place)
        if place == len(text):
            return objects
        try:
            data, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as problem:
            what = f"{problem.msg}, column {problem.colno}"
            raise error(f"{path}: line {problem.lineno} is not readable as JSON ({what}); {remedy}") from None
        except (ValueError, RecursionError) as problem:
            raise error(f"{path}: line {line} is not readable as JSON ({_reason(problem)}); {remedy}") from None
        if may_be_deep:
            _refuse_deep(data, f"{path}: line {line}", remedy, error)
        if has_escapes:
            _refuse_halves(data, text[place:end], f"{path}: line {line}", error)
        if not isinstance(data, dict):
            raise error(f"{path}: line {line} holds {what_it_is(data)}, not an object; {remedy}")
        objects.append((line, data))
        line += text.count("\n", place, end)
        place = end


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return next(name for name, value in _NOT_FINITE.items() if value == data or value != value)
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def read_log(path: Path, *, remedy: str, error: type[ValueError] = ValueError) -> list[tuple[str, dict[str, Any]]]:
    """Return the JSON objects of a file to which a line each was appended, with their lines as they are.

    Raises:
        ValueError: as `error`, naming the file and the line, if one is no object.
    """
    entries = []
    for number, line in enumerate(whole_lines(path, remedy=remedy, error=error), start=1):
        where = f"{path}: line {number}:"
        data = parse_json(line, where, remedy=remedy, error=error)
        if not isinstance(data, dict):
            raise error(f"{where} holds {what_it_is(data)}, not an object; {remedy}")
        entries.append((line, data))
    return entries


def whole_lines(path: Path, *, remedy: str, error: type[ValueError] = ValueError) -> list[str]:
    """Return the lines of a file to which lines were appended, without what a kill or a power failure tore off at its
    end.

    Raises:
        ValueError: as `error`, if the file is missing or not UTF-8.
    """
    data = read_bytes(path, remedy=remedy, error=error, most_bytes=MOST_TEXT_BYTES)
    return _decoded(data[: _whole_size(data)], path, remedy, error).split("\n")[:-1]


def torn_bytes(path: Path) -> int:
    """Return how much of a file's end is torn: a line without its newline, of a kill, or zeros, of a power failure."""
    data = path.read_bytes()
    return len(data) - _whole_size(data)


def _whole_size(data: bytes) -> int:
    size = len(data.rstrip(b"\0"))
    size = data.rfind(b"\n", 0, size) + 1
    while size and b"\0" in data[(start := data.rfind(b"\n", 0, size - 1) + 1) : size]:
        size = start
    return size


def _refuse_halves(data: Any, text: str, where: str, error: type[ValueError]) -> None:
    """Refuse half a character, such as a lone U+D83D out of a text that was cut: nothing can store or print it."""
    if _ESCAPED_HALF.search(text) is None:
        return
    written = json.dumps(data, ensure_ascii=False)
    half = _HALF.search(written)
    if half is not None:
        near = written[max(0, half.start() - 20) : half.end() + 20].encode("ascii", "backslashreplace").decode()
        raise error(f"{where} holds half a character, in {near!r}; write the whole one, or remove it")


def _decoder(allow_nan: bool) -> json.JSONDecoder:
    return json.JSONDecoder() if allow_nan else json.JSONDecoder(parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; write a number or null")


def what_it_is(data: Any) -> str:
    """Return a JSON value in a few words, for messages."""
    kinds = {"dict": "an object", "list": "a list", "str": "a text", "NoneType": "null"}
    return kinds.get(type(data).__name__, f"the value {shown(data)}")


def shown(data: Any) -> str:
    """Return a value as a message shows it, on one line and not too long."""
    text = " ".join(repr(data[:_LONGEST_SHOWN] if isinstance(data, str) else data).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]} ..."


def _reason(problem: Exception) -> str:
    return f"nested more than {DEEPEST} deep" if isinstance(problem, RecursionError) else str(problem)


def _may_be_deep(text: str) -> bool:
    """Whether values may be nested too deep; a text without a doubt is told from its brackets, at the speed of C.

    Brackets within strings count, too, so that it may be a false alarm.
    """
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    brackets = text.encode("utf-8", "surrogatepass").translate(None, _NO_BRACKETS)
    for depth in range(DEEPEST):
        inner = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(brackets):
            return depth + len(inner) > DEEPEST
        brackets = inner
    return bool(brackets)


def _refuse_deep(data: Any, where: str, remedy: str, error: type[ValueError]) -> None:
    level = [data]
    for _ in range(DEEPEST + 1):
        inner = [item for item in level if isinstance(item, list | dict)]
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise error(f"{where} nested more than {DEEPEST} deep; {remedy}")
