"""Whatever kills a writer, and whenever, what it writes is absent, the old or the new; and the next call ends well."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.kill_points import changes, kill_at, refused_from
from tests.processes import Nursery
from tests.writers import WRITERS, Writer

from tempovla.recipe.evaluation import videos

STRAYS = (".DS_Store", "Thumbs.db", ".nfs000000000001", "notes of mine.txt")
MOST_POINTS = 13
FEW_POINTS = {"model": 11, "film": 6, "report": 11, "encodings": 8, "sentences": 7, "statistics": 7, "memory": 6}
"""Of the writers that change the disk less often."""


@contextmanager
def quiet_writers(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("TEMPOVLA_CACHE", str(folder / "cache of tempovla"))
        patch.setattr(videos, "find_spec", lambda name: None)
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path) -> Iterator[None]:
    with quiet_writers(tmp_path):
        yield


def listing(writer: Writer, folder: Path) -> list[str]:
    """All names below a folder, or the hidden ones where the others may differ; TensorBoard has a file a session."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    found = [name for name in found if "tensorboard" not in name and not (writer.once and name.endswith(".lock"))]
    return sorted(name for name in found if not writer.spreads or "/." in name)


def prepared(writer: Writer, folder: Path) -> Path:
    """A folder as the writer finds it."""
    folder.mkdir()
    writer.needs(folder)
    if not writer.grows:
        writer.write(folder, 1)
    return folder


def chosen(count: int) -> list[int]:
    """Some of the moments, evenly: all of few, and the first and last of many."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST_POINTS))})


def is_legal(writer: Writer, found: Any, old: Any, new: Any) -> bool:
    if writer.grows and isinstance(new, list):
        return found is None or found == new[: len(found)]
    return found in (None, old, new)


def kill_at_any_moment(name: str, place: str) -> None:
    """Called in the nursery: a fork of the tests' process, one a moment, costs five times as much."""
    with quiet_writers(Path(place)):
        killed = check_kills(WRITERS[name], Path(place))
    assert killed >= FEW_POINTS.get(name, MOST_POINTS)


def check_kills(writer: Writer, place: Path) -> int:
    """How many moments it was killed at."""
    whole = prepared(writer, place / "whole")
    old = writer.read(whole)
    count = len(changes(whole, lambda: writer.write(whole, 2)))
    new, names = writer.read(whole), listing(writer, whole)
    assert new != old
    template = prepared(writer, place / "template")
    points = chosen(count)
    for number in points:
        folder = place / str(number)
        shutil.copytree(template, folder, symlinks=True)
        assert kill_at(folder, lambda folder=folder: writer.write(folder, 2), number)
        found = writer.read(folder)
        assert is_legal(writer, found, old, new), f"before change {number}: {found}"
        writer.write(folder, 2)
        assert writer.read(folder) == new, f"after a kill before change {number}"
        assert listing(writer, folder) == names, f"after a kill before change {number}"
        shutil.rmtree(folder)
    return len(points)


@pytest.mark.parametrize("name", WRITERS)
def test_killed_at_any_moment_it_is_absent_old_or_new_and_the_next_call_ends_well(
    name: str, tmp_path: Path, nursery: Nursery
) -> None:
    nursery.run(1, f"{__name__}:kill_at_any_moment", name, tmp_path)


def test_they_are_killed_at_many_moments() -> None:
    assert sum(FEW_POINTS.get(name, MOST_POINTS) for name in WRITERS) >= 200


def told_by(write: Callable[[], object], folder: Path, number: int, code: int) -> str | None:
    """What a writer says of a disk that refuses everything from a change on; None if it can do without."""
    try:
        with refused_from(folder, number, code):
            write()
    except (OSError, ValueError) as error:
        return str(error)
    return None


QUIET = {"encodings", "statistics"}
"""Caches go on without the disk, with a warning."""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("name", sorted(WRITERS.keys() - QUIET))
def test_a_disk_that_is_full_or_read_only_is_told_in_one_line_and_costs_nothing(
    name: str, code: int, tmp_path: Path
) -> None:
    writer = WRITERS[name]
    whole = prepared(writer, tmp_path / "whole")
    old = writer.read(whole)
    count = len(changes(whole, lambda: writer.write(whole, 2)))
    new, names = writer.read(whole), listing(writer, whole)
    template = prepared(writer, tmp_path / "template")
    for number in sorted({0, 1, count // 3, count // 2}):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder, symlinks=True)
        line = told_by(lambda folder=folder: writer.write(folder, 2), folder, number, code)
        if line is None:  # what it lacked is made up for later
            assert writer.read(folder) == new
            continue
        assert line.startswith(str(folder)), line
        assert "\n" not in line
        assert "[Errno" not in line
        assert "; " in line, line
        assert is_legal(writer, writer.read(folder), old, new), f"from change {number} on"
        writer.write(folder, 2)
        assert writer.read(folder) == new
        assert listing(writer, folder) == names
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["training", "dataset", "libero", "model"])
def test_strays_and_what_a_user_put_there_block_nothing_and_stay(name: str, tmp_path: Path) -> None:
    writer = WRITERS[name]
    root = {"training": "run", "dataset": "data"}.get(name, name)
    folder = prepared(writer, tmp_path / "folder")
    places = [folder / root, *([folder / root / "checkpoints"] if name == "training" else [])]
    names = STRAYS if name in ("training", "model") else STRAYS[:3]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        for stray in names:
            (place / stray).write_text("mine")
        if name == "training":
            (place / ".mine").mkdir()
            (place / "step_00000002.bak").mkdir()
    for _ in range(2):
        writer.write(folder, 2)
    for place in places:
        assert {(place / stray).read_text() for stray in names} == {"mine"}
        if name == "training":
            assert (place / ".mine").is_dir()
            assert (place / "step_00000002.bak").is_dir()
    assert not os.path.lexists(folder / root / ".lock")
