"""Paths and names from untrusted files: they must stay inside their folder.

A dataset, a checkpoint or a report folder from a stranger may name `../../elsewhere`, `/etc/passwd` or a link that
leads away. Every reader and every writer passes such a name through `inside` before it opens anything.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath

LINKED_FOLDERS_VARIABLE = "TEMPOVLA_LINKED_FOLDERS"
"""Environment variable: folders, separated as in PATH, that links inside a dataset or checkpoint may lead to."""

_LONGEST_NAME = 255
_LONGEST_SHOWN = 200
_PLAIN_FILE = re.compile(r"\w[\w.-]{,199}", re.ASCII).fullmatch
_MOST_LINKS = 40
"""That lead to one another; the system follows no more."""
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def inside(root: Path, name: str, *, said_by: str, remedy: str, error: type[ValueError] = ValueError) -> Path:
    """Return the path of `name` in `root`, which need not exist.

    Links are followed, and must end inside `root`, in the blobs of the hub's cache that `root` is a snapshot of, or in
    a folder of `TEMPOVLA_LINKED_FOLDERS`.

    Args:
        root: the folder that must not be left.
        name: relative path with forward slashes, from a file.
        said_by: where the name stands, such as `info.json: data_path`; it leads the message.
        remedy: advice about a name that leads elsewhere.
        error: class of the error.

    Raises:
        ValueError: as `error`, if the name is absolute, holds `..`, a backslash, a control character or more than a
            file system can store, or if a link leads out of the folder.
    """
    return Inside(root, error).path(name, said_by=said_by, remedy=remedy)


def written_in(root: Path, path: Path, error: type[ValueError] = ValueError) -> Path:
    """Return a path in `root` that is written along, if no link leads it elsewhere.

    What appears as a whole takes a link's place or tells first. This is for what is appended to or cut, and for folders
    in which something is removed: there a link in a folder from elsewhere would have the user's own files changed.
    Links within the folder, and to where `TEMPOVLA_LINKED_FOLDERS` allows it, such as another disk, are followed.

    Raises:
        ValueError: as `error`, naming the link and where it leads.
    """
    Inside(root, error).check_links(path)
    return path


class Inside:
    """Paths in one folder, of many names; see `inside`, which is for one.

    Args:
        root: the folder that must not be left.
        error: class of the error.
    """

    def __init__(self, root: Path, error: type[ValueError] = ValueError) -> None:
        self.root, self._error = root, error
        self._homes: list[str] | None = None
        self._folders: dict[str, str] = {}
        self._links: dict[str, frozenset[str]] = {}
        self._sound: dict[str, frozenset[str]] = {}  # folders by name, with the names of the links in each

    def path(self, name: str, said_by: str, remedy: str) -> Path:
        """Return the path of a name; arguments and errors are those of `inside`."""
        folder, _, last = name.rpartition("/")
        if folder in self._sound and last not in self._sound[folder] and _PLAIN_FILE(last):  # most of a dataset's many
            return self.root / name
        problem = _name_problem(name)
        if problem:
            raise self._error(f"{self.root}: {said_by} {_shown(name)} {problem}; {remedy}")
        path = self.root / name
        self.check_links(path)
        if folder and folder not in self._sound:
            self.check_links(self.root / folder)
            self._sound[folder] = self._links[self._folders[os.path.abspath(self.root / folder)]]
        return path

    def check_links(self, path: Path) -> None:
        """Refuse a path in the folder, if a link on its way leads out.

        Raises:
            ValueError: as the class was told, naming the link and where it leads.
        """
        if self._homes is None:
            home = os.path.realpath(self.root)
            self._homes = [home, *_other_homes(home)]
        place = self._resolved(os.path.abspath(path))
        if not any(_within(place, home) for home in self._homes):
            raise self._error(
                f"{path}: a link that leads out of {self.root}, to {place}; copy what it leads to into the folder, or "
                f"name that place in {LINKED_FOLDERS_VARIABLE}"
            )

    def _resolved(self, path: str, followed: int = 0) -> str:
        """As `os.path.realpath`, which asks the disk for each part of each path; here folders are asked once."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        folder = self._folders[folder]
        if folder not in self._links:
            self._links[folder] = _links_in(folder)
        if name not in self._links[folder] or followed == _MOST_LINKS:
            return os.path.join(folder, name)
        target = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        if os.path.basename(target) in ("", ".", ".."):
            return os.path.realpath(target)
        return self._resolved(target, followed + 1)


def is_plain_name(name: str) -> bool:
    """Return whether a name is one part of a path: no separator, no `..`, nothing that a file system cannot store."""
    return "/" not in name and _name_problem(name) is None


def regular_file(path: Path, *, remedy: str, error: type[ValueError] = ValueError) -> Path:
    """Return the path, if it is a file; a pipe or a device would block or never end, and is not opened.

    Raises:
        ValueError: as `error`, if nothing is there, or something that is no file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise error(f"{path}: no such file; {remedy}") from None
    except OSError as problem:  # a loop of links, a name that is too long
        raise error(f"{path}: not readable ({problem.strerror}); {remedy}") from None
    if not stat.S_ISREG(mode):
        raise error(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file; {remedy}")
    return path


def _name_problem(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    if not name or not parts:
        return "is empty"
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":"):
        return "is not a path relative to the folder"
    if ".." in parts:
        return "leads out of the folder"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "holds a control character"
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        return "holds half a character"
    if longest > _LONGEST_NAME:
        return f"has a part of {longest} bytes, more than a file system can store"
    return None


def _links_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())
    except OSError:  # no such folder, which whoever opens the file will tell
        return frozenset()


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]!r}..."


def _other_homes(home: str) -> list[str]:
    folders = [
        os.path.realpath(folder) for folder in os.environ.get(LINKED_FOLDERS_VARIABLE, "").split(os.pathsep) if folder
    ]
    for parent in Path(home).parents:  # of <cache>/datasets--OWNER--NAME/snapshots/REVISION, which links to ../../blobs
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            folders.append(str(parent.parent / "blobs"))
    return folders


def _within(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
