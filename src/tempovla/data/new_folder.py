"""A folder that appears whole or not at all, apart from the one that it is made from."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tempovla.data.errors import DatasetError
from tempovla.data.parquet import first_line

_MARK = "tempovla-convert"
"""A file that says whose work in progress a folder is."""


def check_target(source: Path, target: Path) -> None:
    """Refuse a target that holds something, or that is not apart from the source; nothing is written.

    Raises:
        DatasetError: naming the target and the remedy.
    """
    place, origin = target.resolve(), source.resolve()
    if any(_same(folder, origin) for folder in (place, *place.parents)):
        what = "is the source itself" if _same(place, origin) else f"lies inside the source {source}"
        raise DatasetError(f"{target}: {what}, which stays as it is; give another folder")
    if any(_same(folder, place) for folder in origin.parents):
        raise DatasetError(f"{target}: holds the source {source}, which stays as it is; give another folder")
    for folder in (place, *place.parents):
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            raise DatasetError(f"{target}: {folder} is no folder; give another one")
    if place.is_dir() and any(place.iterdir()):
        raise DatasetError(f"{target}: not empty, and nothing is overwritten; give another folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write to; it becomes `target`, which does not exist or is empty, once all is written.

    Until then it lies beside the target, hidden. What an earlier call that was killed left there is cleared; after an
    error nothing is left, neither this folder nor parents of the target that were missing.

    Raises:
        DatasetError: if something else lies in the hidden folder, another process writes there, or the disk is full.
    """
    place = target.resolve()
    staging = place.with_name(f".{place.name}.converting")
    try:
        if staging.exists() and any(staging.iterdir()) and not (staging / _MARK).is_file():
            raise DatasetError(f"{staging}: holds something that is no unfinished conversion; move it elsewhere")
    except OSError as error:
        raise DatasetError(f"{target}: could not be written ({error.strerror}); give another folder") from None
    missing = [folder for folder in place.parents if not folder.exists()]
    mark: TextIO | None = None
    try:
        mark = _claimed(staging, target)
        written = staging / "dataset"
        yield written
        if place.exists():
            place.rmdir()
        written.rename(place)
        shutil.rmtree(staging)
    except BaseException as error:
        if mark is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):  # of copytree
            source, _, why = min(error.args[0], key=lambda one: len(str(one[0])))
            raise DatasetError(
                f"{source}: could not be copied ({why}); nothing is left behind, remove it, or repair it, and try again"
            ) from error
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise DatasetError(
                f"{target}: could not be written ({os.strerror(cause.errno) if cause.errno else first_line(cause)}); "
                "nothing is left behind, make room there or give another folder"
            ) from error
        raise
    finally:
        if mark is not None:
            mark.close()


def _claimed(staging: Path, target: Path) -> TextIO:
    """Make the hidden folder anew; its mark, which is locked until it is closed, be it by a kill.

    Raises:
        DatasetError: if another process holds it.
    """
    busy = f"{target}: another process writes there now; let it end, or give another folder"
    mark = staging / _MARK
    if mark.is_file():
        with mark.open(encoding="utf-8") as left:
            if not _is_locked(left):
                raise DatasetError(busy)
            shutil.rmtree(staging, ignore_errors=True)
    elif staging.is_dir():  # a kill came before the mark
        staging.rmdir()
    try:
        staging.mkdir(parents=True)
    except FileExistsError:
        raise DatasetError(busy) from None
    file = mark.open("w", encoding="utf-8")
    _is_locked(file)
    return file


def _is_locked(file: TextIO) -> bool:
    """Lock a file, unless another process holds it; a disk that knows no locks holds none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file or folder, however they are spelt."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
