"""Checks of files and folders that a long piece of work writes in the end, made before the work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

from tempovla.storage.paths import regular_file

_KINDS = (("checkpoint", "bundle.json"), ("checkpoint", "trainer.json"), ("dataset", "meta/info.json"))
EXPORTED = (".onnx", ".pt", ".pt2")
"""Endings of exported policies; the sidecar of one has its name with `.json` behind it."""
_LONGEST_NAME = 255
_LONGEST_NEW_NAME = 220
"""In bytes. Unfinished files, locks and files that are written beside a file have longer names than it has."""


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of a leading ``~``, which a shell leaves in ``--json=~/a.json``."""
    return Path(os.path.expanduser(path))


def holder_of(path: Path) -> tuple[str, Path] | None:
    """Return what a place is or lies in, with links followed: ``checkpoint`` or ``dataset``, and its folder."""
    resolved = Path(os.path.realpath(path))
    as_given = () if ".." in path.parts else (path, *path.parents)
    for folder in (*as_given, resolved, *resolved.parents):
        for kind, file in _KINDS:
            if os.path.isfile(folder / file):
                return kind, folder
    return None


def check_apart(path: Path, option: str, may_be: str | None = None) -> None:
    """Refuse a place in a dataset or a checkpoint, whose files are read together.

    Args:
        path: the file or folder that will be written.
        option: how the user gave it, for the message.
        may_be: the kind that the folder itself may be, because the work goes on with it or replaces it.

    Raises:
        ValueError: in one line that names the dataset or checkpoint.
    """
    found = holder_of(path)
    if found is None:
        return
    kind, folder = found
    is_itself = os.path.realpath(folder) == os.path.realpath(path)
    if is_itself and kind == may_be:
        return
    if is_itself:
        raise ValueError(f"{option} {path}: is a {kind}, in which nothing else is kept; give another place")
    raise ValueError(f"{option} {path}: lies in the {kind} {folder}, in which nothing else is kept; give another place")


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that is none, or cannot be made or written in; nothing is left there.

    Args:
        folder: where something will be written.
        what: what will be written, for the message.

    Raises:
        ValueError: naming the file in its place, or the folder that cannot be written.
    """
    _check_reachable(folder, what)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{there}: a file, so {what} cannot be written into {folder}; give another folder")
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(
            f"{there}: cannot be written ({error.strerror}), so {what} would be lost; give another folder"
        ) from None


def check_file(path: Path, option: str, inputs: Iterable[str | Path] = (), endings: tuple[str, ...] = ()) -> None:
    """Refuse a file that cannot be written, or whose writing would destroy what is there; nothing is written.

    Args:
        path: the file that will be written.
        option: how the user gave it, e.g. ``--json``, for the message.
        inputs: files and folders that the work reads.
        endings: with which such a file's name may end; empty takes any name.

    Raises:
        ValueError: in one line, if it is a folder or a device, one of the inputs, or part of a checkpoint, a dataset or
            an export, if its name ends in another way, or if its folder cannot be made or written in.
    """
    _check_reachable(path, f"{option} {path.name}")
    if path.is_dir() or not path.name:
        example = f", such as {path / ('results' + endings[0])}" if endings else ""
        raise ValueError(f"{option} {path}: is a folder; give a file in it{example}")
    check_folder(path.parent, path.name)
    if path.is_symlink():  # what it leads to is written
        check_folder(Path(os.path.realpath(path)).parent, path.name)
    check_apart(path, option)
    if path.exists():
        regular_file(path, remedy=f"give {option} a file")
        for given in _files_of(inputs):
            if path.samefile(given):
                raise ValueError(f"{option} {path}: would overwrite what is read, {given}; give another file")
        if policy := _exported_with(path):
            raise ValueError(f"{option} {path}: would overwrite a file of the exported policy {policy}; give another")
    if endings and path.suffix.lower() not in endings:
        raise ValueError(
            f"{option} {path}: does not end in {' or '.join(endings)}; give a file that does, such as "
            f"{path.with_suffix(endings[0]).name}"
        )


def _check_reachable(path: Path, what: str) -> None:
    """Refuse a path that the system cannot follow: names that are too long, links in a circle, closed folders.

    Raises:
        ValueError: in one line with the part of the path and the reason.
    """
    for part in path.parts:
        try:
            size = len(os.fsencode(part))
        except UnicodeEncodeError:
            raise ValueError(f"{part!r}: holds half a character, so it names no file; give another name") from None
        if size > (_LONGEST_NEW_NAME if part == path.name and not os.path.lexists(path) else _LONGEST_NAME):
            most = f"of {size} bytes, but {_LONGEST_NEW_NAME} are the most"
            raise ValueError(f"{part[:40]}...: a name {most}; give a shorter one")
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}), so {what} would be lost; give another place"
        ) from None


def _files_of(inputs: Iterable[str | Path]) -> Iterator[str | Path]:
    """The files among what is read, and the descriptions in folders of pretrained models among it."""
    for given in inputs:
        if os.path.isfile(given):
            yield given
        elif os.path.isfile(os.path.join(given, "config.json")):
            yield from Path(given).glob("*.json")


def _exported_with(path: Path) -> Path | None:
    """The exported file whose sidecar a file is."""
    policy = path.with_suffix("")
    return policy if path.suffix == ".json" and policy.suffix in EXPORTED and policy.is_file() else None
