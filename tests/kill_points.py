"""Moments at which a writer changes the file system: to kill it there, or to have the disk refuse."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tempovla.storage import whole

KILLED = 9
_MAKES = frozenset({"open", "os.rename", "os.mkdir", "os.symlink", "os.link", "os.truncate", "fsync", "exchange"})
_REMOVES = frozenset({"os.remove", "os.rmdir"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_watch: Callable[[str, Any], None] | None = None
_root = ""


def _told(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is None or (event not in _MAKES and event not in _REMOVES):
        return
    path = arguments[0]
    if event == "open" and (isinstance(path, int) or not (arguments[2] or 0) & _WRITES):
        return
    if isinstance(path, bytes | str | os.PathLike):
        place = os.fsdecode(path)
        if os.path.isabs(place) and not place.startswith(_root):
            return
    _watch(event, path)


sys.addaudithook(_told)
_fsync, _exchange = os.fsync, whole._exchange


def _told_fsync(descriptor: int) -> None:
    if _watch is not None:
        _watch("fsync", descriptor)
    _fsync(descriptor)


def _told_exchange(one: Path, other: Path) -> bool:
    if _watch is not None:
        _watch("exchange", one)
    return _exchange(one, other)


@contextmanager
def _watching(root: Path, watch: Callable[[str, Any], None]) -> Iterator[None]:
    global _watch, _root
    _root, _watch = str(root), watch
    os.fsync, whole._exchange = _told_fsync, _told_exchange
    try:
        yield
    finally:
        _watch = None
        os.fsync, whole._exchange = _fsync, _exchange


def changes(root: Path, write: Callable[[], object]) -> list[str]:
    """What a writer does to the file system below a folder, in order."""
    found: list[str] = []
    with _watching(root, lambda event, path: found.append(event)):
        write()
    return found


def kill_at(root: Path, write: Callable[[], object], number: int) -> bool:
    """Run a writer in a forked child, which ends as by SIGKILL just before its change `number`, counted from 0.

    Returns:
        Whether it was killed; False if it had fewer changes to make.
    """
    child = os.fork()
    if child == 0:
        left = [number]

        def count(event: str, path: Any) -> None:
            if left[0] == 0:
                os._exit(KILLED)
            left[0] -= 1

        try:
            with _watching(root, count):
                write()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the writer ended with code {code} before its change {number}"
    return code == KILLED


@contextmanager
def refused_from(root: Path, number: int, code: int = errno.ENOSPC) -> Iterator[None]:
    """A disk that is full, or read-only, from its change `number` on; what is there can be removed all the same."""
    done = [0]

    def refuse(event: str, path: Any) -> None:
        if event in _MAKES and done[0] >= number:
            raise OSError(code, os.strerror(code), None if isinstance(path, int) else os.fsdecode(path))
        done[0] += 1

    with _watching(root, refuse):
        yield
