"""Stray files that systems leave in folders. They are ignored and not removed."""

from __future__ import annotations

from pathlib import Path

LOCK_NAME = ".lock"
"""Name of the file that names the writer of a folder; see `lock.FolderLock`."""

_NAMES = frozenset({LOCK_NAME, ".DS_Store", "Thumbs.db", "desktop.ini", ".directory", "lost+found"})
_BEGINNINGS = ("._", ".nfs", ".fuse_hidden")


def is_stray(name: str) -> bool:
    """Return whether a file of this name is a stray one."""
    return name in _NAMES or name.startswith(_BEGINNINGS)


def is_empty(folder: Path) -> bool:
    """Return whether a folder is missing, or holds nothing but strays.

    Raises:
        OSError: if it is no folder, or may not be looked into.
    """
    try:
        return all(is_stray(path.name) for path in folder.iterdir())
    except FileNotFoundError:
        return True
