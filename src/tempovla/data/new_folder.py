"""A folder that appears whole or not at all, apart from the one that it is made from."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tempovla.data.errors import DatasetError
from tempovla.data.parquet import first_line
from tempovla.storage import whole
from tempovla.storage.lock import holding, try_lock, unlock
from tempovla.storage.problems import NO_SPACE, error_number
from tempovla.storage.strays import is_empty

_MARK = "tempovla-convert"
"""A file in folders of earlier versions that names the owner of unfinished work."""


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
    if not is_empty(place):
        raise DatasetError(f"{target}: not empty, and nothing is overwritten; give another folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to write to; it becomes `target`, which does not exist or is empty, once all is written.

    Until then it lies beside the target, hidden. What an earlier call that was killed left there is removed; after an
    error nothing is left, neither this folder nor parents of the target that were missing.

    Raises:
        DatasetError: if another process writes there, or the disk does not take it.
    """
    place = Path(os.path.realpath(target))
    try:
        with holding(target, "writes a dataset", remedy="let it end, or give another folder", error=DatasetError):
            _remove_leftovers(place.with_name(f".{place.name}.converting"))
            with whole.new_folder(target) as folder:
                yield folder
    except (OSError, DatasetError) as error:
        cause = _disk_error(error)
        number = None if cause is None else error_number(cause)
        of_target = number in (*NO_SPACE, errno.EROFS)
        if isinstance(cause, shutil.Error) and isinstance(cause.args[0], list) and not of_target:  # of copytree
            source, _, why = min(cause.args[0], key=lambda one: len(str(one[0])))
            raise DatasetError(
                f"{source}: could not be copied ({why}); nothing is left behind, remove it, or repair it, and try again"
            ) from error
        if cause is not None and not isinstance(cause, FileNotFoundError):
            reason = os.strerror(number) if number else first_line(cause)
            raise DatasetError(
                f"{target}: could not be written ({reason}); nothing is left behind, make room there or give another "
                "folder"
            ) from error
        raise


def _disk_error(error: BaseException) -> OSError | None:
    """What the disk said first of all."""
    found: OSError | None = None
    cause: BaseException | None = error
    while cause is not None:
        found = cause if isinstance(cause, OSError) else found
        cause = cause.__cause__
    return found


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed conversion of an earlier version left; a file in it says whose it is, and was locked."""
    mark = folder / _MARK
    if mark.is_file() and not folder.is_symlink():
        descriptor = os.open(mark, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if try_lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            unlock(descriptor)
    else:
        with suppress(OSError):  # it is not empty, or missing
            folder.rmdir()


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file or folder, however they are spelt."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
