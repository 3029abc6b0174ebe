"""Errors of the disk, in one line that names the file and the remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that more room mends."""

_REMEDIES = {
    errno.EROFS: "choose another folder",
    errno.EACCES: "choose another folder, or ask for the right to write there",
    errno.EPERM: "choose another folder, or ask for the right to write there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose another folder",
}
_IN_WORDS = {os.strerror(number): number for number in (*NO_SPACE, errno.EROFS, errno.EACCES, errno.EIO, errno.EINTR)}


class NotWrittenError(OSError):
    """A file or folder that could not be written: its path, the reason and the remedy, in one line.

    Args:
        target: the file that was to be written.
        cause: the disk's error.
        what: what of it is missing now, such as "checkpoint not written".
        then: advice once there is room again.
    """

    def __init__(self, target: Path, cause: OSError, *, what: str = "not written", then: str = "and try again") -> None:
        number = error_number(cause)
        super().__init__(number, os.strerror(number) if number else str(cause), str(target))
        remedy = _REMEDIES.get(number or 0, "choose another place")
        if number in NO_SPACE:
            remedy = f"free some space {then}"
        self._line = f"{target}: {what} ({self.strerror}); {remedy}"

    def __str__(self) -> str:
        return self._line


@contextmanager
def problems_of(target: Path, *, what: str = "not written", then: str = "and try again") -> Iterator[None]:
    """Make errors of the disk name the target, not the hidden file beside it.

    Raises:
        NotWrittenError: in place of any other OSError that says what is wrong with the disk.
    """
    try:
        yield
    except NotWrittenError as error:
        if what == "not written":
            raise
        raise NotWrittenError(target, error, what=what, then=then) from error
    except OSError as error:
        if error_number(error) is None:
            raise
        raise NotWrittenError(target, error, what=what, then=then) from error


def error_number(error: BaseException) -> int | None:
    """Return the number of an error of the system, also where a library tells it in words alone, as HDF5 does."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"os error (\d+)|[Ee]rrno = (\d+)", str(error))
    if told:
        return int(told[1] or told[2])
    return next((number for words, number in _IN_WORDS.items() if words in str(error)), None)
