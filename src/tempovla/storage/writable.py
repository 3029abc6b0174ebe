"""Checks of files and folders that a long piece of work writes in the end, made before the work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from tempovla.storage.paths import regular_file

_OF_CHECKPOINTS = ("bundle.json", "transform.json", "trainer.json", "weights.safetensors")
_EXPORTED = (".onnx", ".pt", ".pt2")


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that is none, or cannot be made or written in; nothing is left there.

    Args:
        folder: where something will be written.
        what: what will be written, for the message.

    Raises:
        ValueError: naming the file in its place, or the folder that cannot be written.
    """
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


def check_file(path: Path, option: str, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a file that cannot be written, or whose writing would destroy what is there; nothing is written.

    Args:
        path: the file that will be written.
        option: how the user gave it, e.g. ``--json``, for the message.
        inputs: files that the work reads.

    Raises:
        ValueError: in one line, if it is a folder or a device, one of the inputs, or part of a checkpoint, a dataset or
            an export, or if its folder cannot be made or written in.
    """
    if path.is_dir() or not path.name:
        raise ValueError(f"{option} {path}: is a folder; give a file in it, such as {path / 'results.json'}")
    check_folder(path.parent, path.name)
    if not path.exists():
        return
    regular_file(path, remedy=f"give {option} a file")
    for given in inputs:
        if Path(given).is_file() and path.samefile(given):
            raise ValueError(f"{option} {path}: would overwrite what is read, {given}; give another file")
    if owner := _owner(path):
        raise ValueError(f"{option} {path}: would overwrite a file of {owner}; give another file")


def _owner(path: Path) -> str | None:
    """The checkpoint, dataset or exported file that a file is part of."""
    folder = path.parent
    if path.name in _OF_CHECKPOINTS and (folder / _OF_CHECKPOINTS[0]).is_file():
        return f"the checkpoint {folder}"
    if folder.name == "meta" and (folder / "info.json").is_file():
        return f"the dataset {folder.parent}"
    if path.suffix == ".json" and Path(path.stem).suffix in _EXPORTED and path.with_suffix("").is_file():
        return f"the exported policy {path.with_suffix('')}"
    return None
