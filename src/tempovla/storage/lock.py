"""One writer at a time: advisory locks that name their owner and end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import stat
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from tempovla.storage.problems import NotWrittenError, problems_of
from tempovla.storage.strays import LOCK_NAME

LOGGER = logging.getLogger(__name__)

_descriptors: set[int] = set()
"""Of the locks that this process holds."""


class Lock:
    """A lock that this process holds until `release`, or until the object or the process ends in any way.

    Args:
        path: the lock's file; it is made, with missing folders, names its owner, and is removed at the release.
        place: name of the locked place, for messages.
        doing: the owner's activity, such as "trains".
        remedy: advice for another process.
        error: class of the error.

    Raises:
        ValueError: as `error`, if another process, or another part of this one, holds the lock; the message names it.
            Also if something that is no file has its name, such as a link: what it leads to would be written over.
        NotWrittenError: if the file cannot be made.
    """

    def __init__(
        self, path: Path, place: Path, doing: str, *, remedy: str, error: type[ValueError] = ValueError
    ) -> None:
        self.path = path
        self._made = [folder for folder in path.parents if not folder.exists()]
        self._descriptor: int | None = None
        with problems_of(place):
            while self._descriptor is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    descriptor = _opened(path, error)
                except FileNotFoundError:  # its last owner removed the folder meanwhile
                    continue
                if try_lock(descriptor) is False:
                    owner = _owner(descriptor)
                    unlock(descriptor)
                    raise error(f"{place}: {owner} there now; {remedy}")
                if _still_there(descriptor, path):
                    self._descriptor = descriptor
                else:  # its last owner removed it meanwhile
                    unlock(descriptor)
        self._finalizer = weakref.finalize(self, _release, path, self._descriptor, self._made, os.getpid())
        words = {"process": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": time.time()}
        if os.fstat(self._descriptor).st_nlink > 1:  # a second name of a file that may hold something
            return
        with suppress(OSError):  # a full disk: it is locked all the same, and the second is not told by whom
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, (json.dumps({**words, "command": Path(sys.argv[0]).name}) + "\n").encode(), 0)

    def release(self) -> None:
        """Let others write there, and remove folders that were made for the lock alone; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class FolderLock(Lock):
    """The lock of a folder that is written to: a file `.lock` in it, which no reader takes for content.

    Missing folders are made; those in which nothing else was put are removed at the release.

    Raises:
        ValueError: as `error`, if somebody else writes there now.
        NotWrittenError: if it is no folder, or cannot be written.
    """

    def __init__(self, folder: Path, doing: str, *, remedy: str, error: type[ValueError] = ValueError) -> None:
        super().__init__(folder / LOCK_NAME, folder, doing, remedy=remedy, error=error)


@contextmanager
def holding(target: Path, doing: str, *, remedy: str, error: type[ValueError] = ValueError) -> Iterator[None]:
    """Hold a file or folder that is to be written as a whole; its lock lies beside it, hidden.

    Raises:
        ValueError: as `error`, if somebody else writes it now.
        NotWrittenError: if its folder cannot be written, or it is a device or a pipe, beside which no lock belongs.
    """
    place = Path(os.path.realpath(target))
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise NotWrittenError(target, OSError("is a device or a pipe, not a file"))
    with Lock(place.with_name(f".{place.name}.lock"), target, doing, remedy=remedy, error=error):
        yield


def check_free(path: Path, place: Path, *, remedy: str) -> None:
    """Refuse a place that somebody writes to now, without writing anything there.

    Args:
        path: the file of the lock, which need not exist.
        place: name of the locked place, for messages.
        remedy: advice for the message.

    Raises:
        ValueError: naming who holds the lock.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # nobody has made it; whoever makes it will tell what is wrong with the disk
        return
    try:
        if try_lock(descriptor) is False:
            raise ValueError(f"{place}: {_owner(descriptor)} there now; {remedy}")
    finally:
        unlock(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file or folder until `unlock`, or until this process ends, even if it has forked other processes.

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


def _release(path: Path, descriptor: int, made: list[Path], process: int) -> None:
    if os.getpid() != process:  # a forked child has let go of it already
        return
    try:
        with suppress(OSError):
            if _still_there(descriptor, path):
                os.unlink(path)
    finally:
        unlock(descriptor)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def _let_go_in_child() -> None:
    """A forked child, such as a loader's worker, must not go on holding what its dead parent held."""
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _opened(path: Path, error: type[ValueError]) -> int:
    """The descriptor of a lock's file, which is made if it is missing."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as problem:
        if path.is_symlink():
            raise error(f"{path}: is a link, but a lock must be a file; remove it") from None
        if problem.errno in (errno.EISDIR, errno.ENXIO):
            raise error(f"{path}: is not a file, but a lock must be one; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path}: is not a file, but a lock must be one; remove it")
    return descriptor


def _still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    """Who wrote the lock's file, and for how long it has held it."""
    try:
        words = json.loads(os.pread(descriptor, 4096, 0))
        process, host, doing = int(words["process"]), str(words["host"]), str(words["doing"])
        minutes = max(0.0, time.time() - float(words["since"])) / 60
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # it has just been made, or is damaged
        return "another process writes"
    where = "" if host == socket.gethostname() else f" on {host}"
    age = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    if process == os.getpid() and not where:
        return f"this process {doing} (for {age}, and its object is not closed)"
    return f"process {process}{where} {doing} (for {age})"
