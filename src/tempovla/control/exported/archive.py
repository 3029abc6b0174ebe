"""Checks of torch's zip archives before torch opens them: members by name, and pickles by opcode.

Python and torch must see the same members, so whatever two readers of zip files could read differently is refused.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_TEXT = 256 * 2**20
"""Bytes of a member that is read as text, once unpacked."""
OTHERS_REMEDY = "export the policy again with `tempovla export`, or ask for it as ONNX"


class RefusedFileError(ValueError):
    """A file that is not handed to torch, in one line.

    Attributes:
        what: is wrong with it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.what = what
        super().__init__(f"{path}: {what}; {OTHERS_REMEDY}")


class TorchArchive:
    """The members of an archive, by name without the folder that torch puts them all in.

    Args:
        path: the file.
        archive: it, opened.
        names: what a member's name must match.
        packed: which of them may be compressed; weights are not.

    Raises:
        RefusedFileError: if a member has a name of another kind, lies there twice, or is packed in another way.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, names: re.Pattern[str], packed: re.Pattern[str]) -> None:
        self.path, self._archive = path, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        infos = archive.infolist()
        roots = {info.filename.partition("/")[0] for info in infos}
        if len(roots) != 1 or archive.comment or min(info.header_offset for info in infos) != 0:
            raise RefusedFileError(path, "is no archive as torch writes them")
        for info in infos:
            name = info.filename.partition("/")[2]
            if info.orig_filename != info.filename or not info.filename.isascii() or not names.fullmatch(name):
                raise RefusedFileError(path, f"holds {info.orig_filename!r}, which no export has")
            if name.lower() in {known.lower() for known in self._members}:
                raise RefusedFileError(path, f"holds {info.filename!r} twice")
            stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
            if not stored and not (info.compress_type == zipfile.ZIP_DEFLATED and packed.fullmatch(name)):
                raise RefusedFileError(path, f"member {info.filename!r} is packed as no export is")
            if info.flag_bits & 1:
                raise RefusedFileError(path, f"member {info.filename!r} is encrypted")
            self._members[name] = info

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """Return the bytes of a member once unpacked."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises:
            RefusedFileError: if there is none of this name, it is too large to be one, or damaged.
        """
        if name not in self._members:
            raise RefusedFileError(self.path, f"holds no {name!r}")
        if self.size(name) > LARGEST_TEXT:
            raise RefusedFileError(self.path, f"member {name!r} has {self.size(name)} bytes, more than an export has")
        return self._archive.read(self._members[name])


@contextmanager
def torch_archive(path: Path, names: re.Pattern[str], packed: re.Pattern[str]) -> Iterator[TorchArchive]:
    """Open an archive that torch wrote; see `TorchArchive`.

    Raises:
        RefusedFileError: if it is none, damaged, or holds what no export does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.infolist():
                raise RefusedFileError(path, "is an empty archive")
            yield TorchArchive(path, archive, names, packed)
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, EOFError) as error:
        raise RefusedFileError(path, f"is no archive as torch writes them ({error})") from None


def pickled_names(path: Path, member: str, data: bytes) -> set[str]:
    """Return the names in a pickle, such as `torch FloatStorage`, without loading it.

    Raises:
        RefusedFileError: if it is no pickle, or names something in a way in which the name cannot be seen.
    """
    names: set[str] = set()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                names.add(str(argument))
            elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                raise RefusedFileError(path, f"member {member!r} is a pickle that could run code")
    except (ValueError, EOFError, IndexError) as error:
        if isinstance(error, RefusedFileError):
            raise
        raise RefusedFileError(path, f"member {member!r} is damaged ({error})") from None
    return names
