"""Files and folders that appear whole or not at all, even if their writer is killed.

What is in the making lies beside its target under a hidden name, `.NAME.<token>.part`. The writer holds a lock on it,
which ends with the process, so that whoever writes the same target next can tell what a dead writer left from the work
of a living one. Files of other names are never touched.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tempovla.storage.lock import try_lock, unlock
from tempovla.storage.problems import NotWrittenError, problems_of
from tempovla.storage.strays import LOCK_NAME, is_stray

_AT_FDCWD = -100
_EXCHANGE = 2


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `target`, in place of an older file, once the block ends without an error.

    The file is on the disk before it is seen. After an error nothing is left. Where `target` is a link, what it leads
    to is replaced; a device or a pipe never is, though root could replace it.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    descriptor = -1
    with problems_of(target):
        place = Path(os.path.realpath(target))
        if os.path.lexists(place) and not (place.is_file() or place.is_dir()):
            raise NotWrittenError(target, OSError("is a device or a pipe, not a file"))
        staged = _staging_path(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(place)
            descriptor = os.open(staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try_lock(descriptor)
            yield staged
            sync(staged)
            os.replace(staged, place)
            sync(place.parent)
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
def new_folder(target: Path, keeps: Callable[[str], bool] = is_stray) -> Iterator[Path]:
    """Give an empty folder to write to; once the block ends without an error, it becomes `target`.

    It takes the place of an older one, and everything in it is on the disk before it is seen. After an error nothing is
    left, neither this folder nor parents of the target that were missing. Where `target` is a link, what it leads to is
    replaced.

    Args:
        target: the folder.
        keeps: whether an entry of the older folder, by its name, is to be in the new one as well.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    with working_folder(target) as staged:
        place = Path(os.path.realpath(target))
        restore(place)
        yield staged
        _carry_over(place, staged, keeps)
        for path in [*staged.rglob("*"), staged]:
            if not path.is_symlink():
                sync(path)
        replace_folder(staged, place)


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside a target for unfinished files. It is removed at the end in any case.

    Parents of the target that were missing are gone too, if nothing was put there.

    Raises:
        NotWrittenError: if it cannot be written.
    """
    descriptor = -1
    with problems_of(target):
        place = Path(os.path.realpath(target))
        staged = _staging_path(place)
        missing = [folder for folder in place.parents if not folder.exists()]
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(place)
            staged.mkdir()
            descriptor = os.open(staged, os.O_RDONLY | os.O_CLOEXEC)
            try_lock(descriptor)
            yield staged
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            if descriptor >= 0:
                unlock(descriptor)
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()


def _carry_over(old: Path, new: Path, keeps: Callable[[str], bool]) -> None:
    """Have a new folder hold some of what an old one does, at no cost."""
    if not old.is_dir():
        return
    for path in old.iterdir():
        if not keeps(path.name) or path.name == LOCK_NAME or os.path.lexists(new / path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(path), str(new / path.name))


def _link_or_copy(old: str, new: str) -> str:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:  # a disk without hard links
        shutil.copy2(old, new, follow_symlinks=False)
    return new


def replace_folder(finished: Path, target: Path) -> None:
    """Replace `target` by a finished folder. At every moment `target` is either the complete old folder or the complete
    new one.

    Where the file system cannot exchange two names, there is a moment without `target`; a kill then leaves the old
    folder under a hidden name, from which `restore` brings it back.
    """
    if not os.path.lexists(target):
        finished.rename(target)
    elif _exchange(finished, target):
        shutil.rmtree(finished, ignore_errors=True)
    else:
        retired = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
        target.rename(retired)
        finished.rename(target)
        shutil.rmtree(retired, ignore_errors=True)
    sync(target.parent)


def restore(target: Path) -> None:
    """Bring back a folder that a kill left between its two names; nothing happens if there is none."""
    retired = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{1,16}\.old")
    for path in _siblings(target, retired):
        if path.is_dir() and not path.is_symlink():
            if os.path.lexists(target):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.rename(target)


def remove_leftovers(target: Path) -> None:
    """Remove unfinished files of dead writers of a target; those of living writers stay.

    Earlier versions wrote to `.NAME.part` and `.NAME.writing`, which are looked for as well.
    """
    pattern = re.compile(re.escape(f".{target.name}") + r"(\.[0-9a-f]{1,16}\.part|\.part|\.writing)")
    for path in _siblings(target, pattern):
        with suppress(OSError):
            if not path.is_symlink() and _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def new_link(link: Path, target: Path) -> None:
    """Have a link lead to a file or folder, in one step; a folder that is there, as in a copy, makes room for it.

    The link is relative, so that both can be moved together.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    staged = link.with_name(f".{link.name}.link")
    if staged.is_dir() and not staged.is_symlink():  # a kill came after the folder had made room
        shutil.rmtree(staged)
    else:
        staged.unlink(missing_ok=True)
    staged.symlink_to(os.path.relpath(target, link.parent))
    if link.is_dir() and not link.is_symlink():
        replace_folder(staged, link)
    else:
        os.replace(staged, link)
        sync(link.parent)


def _siblings(target: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The entries beside a target whose names match."""
    try:
        names = os.listdir(target.parent)
    except OSError:
        return []
    return [target.with_name(name) for name in sorted(names) if name[0] == "." and pattern.fullmatch(name)]


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _staging_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


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
