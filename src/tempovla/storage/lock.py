"""One writer at a time: advisory locks that name their owner and end with the process that holds them."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOGGER = logging.getLogger(__name__)

_descriptors: set[int] = set()
"""Of the locks that this process holds."""


class Lock:
    """A lock that this process holds until `release`, or until it ends in whatever way.

    Args:
        path: the lock's file; it is made, says who holds it, and is removed at the release.
        place: what is locked, for the message.
        doing: what its owner does there, such as "trains".
        remedy: what another process can do about it.
        error: what to raise.

    Raises:
        ValueError: as `error`, if another process, or another part of this one, holds the lock; the message names it.
        OSError: if the file cannot be made.
    """

    def __init__(
        self, path: Path, place: Path, doing: str, *, remedy: str, error: type[ValueError] = ValueError
    ) -> None:
        self.path = path
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if try_lock(descriptor) is False:
                owner = _owner(descriptor)
                unlock(descriptor)
                raise error(f"{place}: {owner} there now; {remedy}")
            if _still_there(descriptor, path):
                self._descriptor = descriptor
            else:  # its last owner removed it meanwhile
                unlock(descriptor)
        words = {"process": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": time.time()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, (json.dumps({**words, "command": Path(sys.argv[0]).name}) + "\n").encode(), 0)

    def release(self) -> None:
        """Let others write there; a second call does nothing."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            if _still_there(self._descriptor, self.path):
                self.path.unlink()
        unlock(self._descriptor)
        self._descriptor = None


@contextmanager
def holding(target: Path, doing: str, *, remedy: str, error: type[ValueError] = ValueError) -> Iterator[None]:
    """Hold a file or folder that is to be written as a whole; its lock lies beside it, hidden.

    Parents of the target that are missing are made.

    Raises:
        ValueError: as `error`, if somebody else writes it now.
        OSError: if its folder cannot be written.
    """
    place = target.parent.resolve() / target.name
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(place.with_name(f".{place.name}.lock"), target, doing, remedy=remedy, error=error)
    try:
        yield
    finally:
        lock.release()


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until `unlock`, or until this process ends, whatever processes it has forked.

    Returns:
        False if it is locked elsewhere, None if the disk knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        LOGGER.debug("no locks on this disk (%s)", error)
        return None
    finally:
        _descriptors.add(descriptor)
    return True


def unlock(descriptor: int) -> None:
    """Close an open file or folder, and with it its lock."""
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _let_go_in_child() -> None:
    """A forked child, such as a loader's worker, must not go on holding what its dead parent held."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    """Who wrote the lock's file, and for how long it has held it."""
    try:
        words = json.loads(os.pread(descriptor, 4096, 0))
        process, host, doing = int(words["process"]), str(words["host"]), str(words["doing"])
        minutes = max(0.0, time.time() - float(words["since"])) / 60
    except (ValueError, KeyError, TypeError):  # it has just been made
        return "another process writes"
    where = "" if host == socket.gethostname() else f" on {host}"
    age = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return f"process {process}{where} {doing} (for {age})"
