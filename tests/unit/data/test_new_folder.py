"""A new folder appears whole or not at all, and never in or around what it is made from."""

import errno
import os
from pathlib import Path

import pytest

from tempovla.data.errors import DatasetError
from tempovla.data.new_folder import check_target, new_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "old" / "meta").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "old")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "to_full").symlink_to(tmp_path / "full")
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "nowhere")
    return tmp_path / "old"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("old", "is the source itself"),
        ("old/", "is the source itself"),
        ("new/../old", "is the source itself"),
        ("link", "is the source itself"),
        ("old/inside", "lies inside the source"),
        ("old/meta/a/b", "lies inside the source"),
        ("link/inside", "lies inside the source"),
        (".", "holds the source"),
        ("file", "is no folder"),
        ("file/inside", "is no folder"),
        ("full", "not empty, and nothing is overwritten"),
        ("to_full", "not empty, and nothing is overwritten"),
    ],
)
def test_a_target_that_would_touch_what_is_there_is_refused(source: Path, target: str, message: str) -> None:
    place = Path(os.path.join(source.parent, target))
    with pytest.raises(DatasetError, match=message) as caught:
        check_target(source, place)
    assert str(caught.value).startswith(str(place))
    assert str(caught.value).endswith("give another folder") or "another one" in str(caught.value)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_appears_once_it_is_whole(tmp_path: Path, is_there: bool) -> None:
    target = tmp_path / "a" / "new"
    if is_there:
        target.mkdir(parents=True)
    with new_folder(target) as folder:
        (folder / "file").write_text("whole")
        assert not target.exists() or not any(target.iterdir())
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert (target / "file").read_text() == "whole"


def fail(target: Path, error: BaseException) -> None:
    with new_folder(target):
        raise error


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "a" / "b" / "new", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_call_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".new.converting"
    left.mkdir()
    (left / "tempovla-convert").touch()
    (left / "dataset").mkdir()
    (left / "dataset" / "half").write_text("half")
    with new_folder(tmp_path / "new") as folder:
        assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_not_ours_is_not_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".new.converting"
    left.mkdir()
    (left / "precious").write_text("mine")
    with new_folder(tmp_path / "new"):
        pass
    assert (left / "precious").read_text() == "mine"


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        fail(tmp_path / "new", OSError(errno.ENOSPC, "No space left on device"))
    assert str(caught.value) == (
        f"{tmp_path / 'new'}: could not be written (No space left on device); nothing is left behind, make room there "
        "or give another folder"
    )
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_to_one_target_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with new_folder(target) as folder:
        (folder / "file").write_text("first")
        with pytest.raises(DatasetError, match=r"this process writes a dataset .* let it end"), new_folder(target):
            pytest.fail("both write")
    assert (target / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("marked", [False, True])
def test_what_a_kill_left_is_cleared(tmp_path: Path, marked: bool) -> None:
    (tmp_path / ".new.converting").mkdir()
    if marked:
        (tmp_path / ".new.converting" / "tempovla-convert").touch()
        (tmp_path / ".new.converting" / "half").write_text("half")
    with new_folder(tmp_path / "new") as folder:
        (folder / "file").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
