"""HDF5 files that name other files: external links, virtual datasets, and datasets whose bytes lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tempovla.data.errors import DatasetError
from tempovla.storage.paths import Inside, regular_file


def refuse_other_files(path: Path, file: h5py.File) -> None:
    """Refuse a file that would have HDF5 read another one outside its folder.

    HDF5 follows such names by itself, wherever they lead, so they are looked at before anything is read.

    Raises:
        DatasetError: naming the file, what in it names another one, and that one.
    """
    inside = Inside(path.parent, DatasetError)
    remedy = "copy what it leads to into the file, or record it again"
    for place, other in _named_files(file):
        said_by = f"{path.name}: {place} lies in"
        found = inside.path(other, said_by=said_by, remedy=remedy)
        # What is not there HDF5 looks for elsewhere, such as in the current folder.
        regular_file(found, remedy=f"{path.name} names it, so copy it there", error=DatasetError)
    for place in _kept_outside(file):
        raise DatasetError(
            f"{path}: {place} has its numbers in another file, whose place depends on the current folder; {remedy}"
        )


def _kept_outside(file: h5py.File) -> list[str]:
    """Datasets whose bytes lie in a file of no format, which HDF5 looks for in the current folder."""
    return [place for place, found in _own_things(file) if isinstance(found, h5py.Dataset) and found.external]


def _named_files(file: h5py.File) -> Iterator[tuple[str, str]]:
    """What in a file lies in other HDF5 files, and their names; soft links lead to other places of the same file."""
    for place, found in _own_things(file):
        if isinstance(found, h5py.ExternalLink):
            yield place, found.filename
        elif isinstance(found, h5py.Dataset) and found.is_virtual:
            names = {source.file_name for source in found.virtual_sources()} - {"."}
            yield from ((place, name) for name in sorted(names))


def _own_things(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Everything that lies in a file itself, and its links to others, with the place of each."""
    root = file["/"]
    waiting, seen = [("", root)], {root.id}
    while waiting:
        above, group = waiting.pop()
        for name in group:
            if isinstance(name, bytes):  # is no text, and nothing that is read has such a name
                continue
            place, link = f"{above}/{name}", group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield place, link
            elif isinstance(link, h5py.HardLink):
                found = group[name]
                yield place, found
                if isinstance(found, h5py.Group) and found.id not in seen:
                    seen.add(found.id)
                    waiting.append((place, found))
