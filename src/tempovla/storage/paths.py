"""Paths and names out of files that nobody vouches for: they stay inside the folder that they belong to.

A dataset, a checkpoint or a report folder from a stranger may name `../../elsewhere`, `/etc/passwd` or a link that
leads away. Every reader and every writer passes such a name through `inside` before it opens anything.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

LINKED_FOLDERS_VARIABLE = "TEMPOVLA_LINKED_FOLDERS"
"""Environment variable: folders, separated as in PATH, that links inside a dataset or checkpoint may lead to."""

_LONGEST_NAME = 255
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def inside(root: Path, name: str, *, said_by: str, remedy: str, error: type[ValueError] = ValueError) -> Path:
    """The path of `name` in `root`, which need not exist.

    Links are followed, and must end inside `root`, in the blobs of the hub's cache that `root` is a snapshot of, or in
    a folder of `TEMPOVLA_LINKED_FOLDERS`.

    Args:
        root: the folder that must not be left.
        name: relative path with forward slashes, as a file says it.
        said_by: where the name stands, such as `info.json: data_path`; it leads the message.
        remedy: what to do about a name that leads elsewhere.
        error: what to raise.

    Raises:
        ValueError: as `error`, if the name is absolute, holds `..`, a backslash, a control character or more than a
            file system can store, or if a link leads out of the folder.
    """
    problem = _name_problem(name)
    if problem:
        raise error(f"{root}: {said_by} {name!r} {problem}; {remedy}")
    path = root / name
    if not _stays(root, path):
        raise error(
            f"{path}: a link that leads out of {root}, to {path.resolve()}; copy what it leads to into the folder, "
            f"or name that place in {LINKED_FOLDERS_VARIABLE}"
        )
    return path


def is_plain_name(name: str) -> bool:
    """Whether a name is one part of a path: no separator, no `..`, nothing that a file system cannot store."""
    return "/" not in name and _name_problem(name) is None


def regular_file(path: Path, *, remedy: str, error: type[ValueError] = ValueError) -> Path:
    """The path, if it is a file; a pipe or a device would block or never end, and is not opened.

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


def _stays(root: Path, path: Path) -> bool:
    """Whether a path, its links followed, is inside the folder or where its links may lead."""
    home = os.path.realpath(root)
    place = os.path.realpath(path)
    return any(_within(place, folder) for folder in (home, *_other_homes(home)))


def _other_homes(home: str) -> list[str]:
    folders = [
        os.path.realpath(folder) for folder in os.environ.get(LINKED_FOLDERS_VARIABLE, "").split(os.pathsep) if folder
    ]
    snapshot = Path(home)
    for (
        parent
    ) in snapshot.parents:  # <cache>/datasets--owner--name/snapshots/<revision>[/...], links lead to ../../blobs
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            folders.append(str(parent.parent / "blobs"))
    return folders


def _within(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
