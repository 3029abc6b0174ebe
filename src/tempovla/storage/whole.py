"""Files and folders that appear whole or not at all, whatever kills their writer, and nothing left over for long.

What is in the making lies beside its target under a hidden name, `.NAME.<token>.part`. The writer holds a lock on it,
which ends with the process, so that whoever writes the same target next can tell what a dead writer left from the work
of a living one. Files of other names are never touched.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tempovla.storage.lock import try_lock, unlock

_AT_FDCWD = -100
_EXCHANGE = 2
_REMEDIES = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "free some space and try again",
    errno.EROFS: "choose another folder",
    errno.EACCES: "choose another folder, or ask for the right to write there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose another folder",
}


class NotWrittenError(OSError):
    """A file or folder that could not be written: its path, the reason and the remedy, in one line."""

    def __init__(self, target: Path, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror, str(target))
        self._line = (
            f"{target}: not written ({cause.strerror or cause}); "
            f"{_REMEDIES.get(cause.errno or 0, 'choose another place')}"
        )

    def __str__(self) -> str:
        return self._line


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `target`, in place of an older file, once the block ends without an error.

    The file is on the disk before it is seen. After an error nothing is left.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    staged = _staging_path(target)
    descriptor = -1
    try:
        with problems_of(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(target)
            descriptor = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try_lock(descriptor)
            yield staged
            sync(staged)
            os.replace(staged, target)
            sync(target.parent)
    finally:
        with suppress(OSError):
            staged.unlink()
        if descriptor >= 0:
            unlock(descriptor)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a file as a whole; see `new_file`."""
    with new_file(target) as staged:
        staged.write_bytes(data)


def write_text(target: Path, text: str) -> None:
    """Write a file as a whole, as UTF-8; see `new_file`."""
    write_bytes(target, text.encode())


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to write to; once the block ends without an error, it becomes `target`.

    It takes the place of an older one, and everything in it is on the disk before it is seen. After an error nothing is
    left.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    staged = _staging_path(target)
    descriptor = -1
    try:
        with problems_of(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            restore(target)
            remove_leftovers(target)
            staged.mkdir()
            descriptor = os.open(staged, os.O_RDONLY | os.O_CLOEXEC)
            try_lock(descriptor)
            yield staged
            for path in [*staged.rglob("*"), staged]:
                sync(path)
            replace_folder(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        if descriptor >= 0:
            unlock(descriptor)


def replace_folder(finished: Path, target: Path) -> None:
    """Put a finished folder in the place of `target`, which is complete at every moment, the old one or the new one.

    Where the file system cannot exchange two names, there is a moment without `target`; a kill then leaves the old
    folder under a hidden name, from which `restore` brings it back.
    """
    if not os.path.lexists(target):
        finished.rename(target)
    elif _exchange(finished, target):
        shutil.rmtree(finished, ignore_errors=True)
    else:
        retired = _retired(target)
        shutil.rmtree(retired, ignore_errors=True)
        target.rename(retired)
        finished.rename(target)
        shutil.rmtree(retired, ignore_errors=True)
    sync(target.parent)


def restore(target: Path) -> None:
    """Bring back a folder that a kill left between its two names; nothing happens if there is none."""
    retired = _retired(target)
    if retired.is_dir():
        if os.path.lexists(target):
            shutil.rmtree(retired, ignore_errors=True)
        else:
            with suppress(OSError):
                retired.rename(target)


def remove_leftovers(target: Path) -> None:
    """Remove what dead writers of a target left in the making; that of living ones, and other files, stay."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{1,16}\.part")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if pattern.fullmatch(path.name) and not path.is_symlink() and _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def problems_of(target: Path) -> Iterator[None]:
    """Have an error of the disk name what was to be written, not the hidden file beside it.

    Raises:
        NotWrittenError: in place of any other OSError that says what is wrong with the disk.
    """
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise NotWrittenError(target, error) from error


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _staging_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _retired(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _is_abandoned(path: Path) -> bool:
    """Whether nobody writes there any more; a disk that knows no locks cannot tell, and everything stays."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return try_lock(descriptor) is True
    finally:
        unlock(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux); False where the system or the disk cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0
