"""A folder that appears whole or not at all, apart from the one that it is made from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        DatasetError: if something else lies in the hidden folder, or the disk is full.
    """
    place = target.resolve()
    staging = place.with_name(f".{place.name}.converting")
    if staging.exists() and any(staging.iterdir()) and not (staging / _MARK).is_file():
        raise DatasetError(f"{staging}: holds something that is no unfinished conversion; move it elsewhere")
    missing = [folder for folder in place.parents if not folder.exists()]
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        (staging / _MARK).touch()
        written = staging / "dataset"
        yield written
        if place.exists():
            place.rmdir()
        written.rename(place)
        shutil.rmtree(staging)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise DatasetError(
                f"{target}: could not be written ({os.strerror(cause.errno) if cause.errno else first_line(cause)}); "
                "nothing is left behind, make room there or give another folder"
            ) from error
        raise


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file or folder, however they are spelt."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
