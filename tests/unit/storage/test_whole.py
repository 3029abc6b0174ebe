"""Files and folders are whole, the old or the new, at every moment."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tempovla.storage import whole
from tempovla.storage.problems import NotWrittenError

WRITE = """
import os, sys
from pathlib import Path
from tempovla.storage import whole
from tempovla.storage.problems import NotWrittenError
target = Path(sys.argv[1])
with (whole.new_folder if sys.argv[2] == "folder" else whole.new_file)(target) as staged:
    (staged / "a" if sys.argv[2] == "folder" else staged).write_text("half")
    if sys.argv[3] == "die":
        os._exit(9)
    print("writing", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_is_replaced_whole_and_an_error_leaves_the_old_one_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    whole.write_text(target, "é")
    assert target.read_bytes() == "é".encode()
    with pytest.raises(ZeroDivisionError), whole.new_file(target) as staged:
        staged.write_text(f"half of {1 // 0}")
    assert files(target.parent) == {"a.json": "é"}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_whole_and_an_error_leaves_the_old_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(whole, "_exchange", lambda one, other: False)
    target = tmp_path / "a"
    for text in ("one", "two"):
        with whole.new_folder(target) as staged:
            (staged / text).write_text(text)
        assert files(target) == {text: text}
        assert names(tmp_path) == ["a"]
    with pytest.raises(ZeroDivisionError), whole.new_folder(target) as staged:
        (staged / "x").write_text(f"half of {1 // 0}")
    assert files(target) == {"two": "two"}
    assert names(tmp_path) == ["a"]


def test_a_kill_between_two_renames_hides_the_old_folder_and_restoring_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_exchange", lambda one, other: False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("old")
    (tmp_path / "b").mkdir()
    rename, count = Path.rename, [0]

    def killed(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            whole.replace_folder(tmp_path / "b", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    whole.restore(tmp_path / "a")
    assert files(tmp_path / "a") == {"x": "old"}
    whole.restore(tmp_path / "a")
    assert files(tmp_path / "a") == {"x": "old"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_dead_writer_left_goes_and_a_living_ones_work_and_users_files_stay(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "a"
    write = [sys.executable, "-c", WRITE, str(target), kind]
    assert subprocess.run([*write, "die"], check=False).returncode == 9
    (left,) = names(tmp_path)
    living = subprocess.Popen([*write, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert living.stdout is not None
    assert living.stdout.readline() == "writing\n"
    assert left not in names(tmp_path)
    for own in (".a.notes.part", ".a.old", "a.1234.part", ".b.1234.part"):
        (tmp_path / own).write_text("mine")
    before = names(tmp_path)
    assert len(before) == 5
    whole.write_text(target, "mine") if kind == "file" else whole.remove_leftovers(target)
    assert [name for name in names(tmp_path) if name != "a"] == before
    living.communicate("")
    assert living.returncode == 0
    assert target.exists()
    assert len(names(tmp_path)) == 5


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space and try again"), (errno.EROFS, "choose another folder")],
)
def test_a_full_or_read_only_disk_is_one_line_with_the_target_and_the_remedy(
    tmp_path: Path, number: int, remedy: str
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / ".a.1234.part"))

    for make in (whole.new_file, whole.new_folder):
        with pytest.raises(NotWrittenError) as told, make(tmp_path / "a"):
            fail()
        assert str(told.value) == f"{tmp_path / 'a'}: not written ({os.strerror(number)}); {remedy}"
        assert told.value.errno == number
        assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path, kind: str) -> None:
    pipe, target = tmp_path / "pipe", tmp_path / "target"
    os.mkfifo(pipe)
    if kind == "pipe":
        target = pipe
    else:
        target.symlink_to(pipe)
    before = target.stat()
    with pytest.raises(NotWrittenError, match=rf"^{target}: not written \(is a device or a pipe, not a file\)"):
        whole.write_text(target, "text")
    assert target.stat().st_mode == before.st_mode
    assert target.stat().st_ino == before.st_ino


def test_a_place_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match=rf"^{tmp_path}/file/a: not written \(File exists\)"):
        whole.write_text(tmp_path / "file" / "a", "x")


def test_what_the_user_put_into_a_folder_is_taken_over(tmp_path: Path) -> None:
    target = tmp_path / "a"
    for version in ("one", "two"):
        with whole.new_folder(target, keeps=lambda name: name != "made") as staged:
            (staged / "made").write_text(version)
        (target / "README").write_text("mine")
        (target / "own").mkdir(exist_ok=True)
        (target / "own" / "x").write_text("mine")
    with whole.new_folder(target, keeps=lambda name: name != "made") as staged:
        (staged / "made").write_text("three")
    assert (target / "made").read_text() == "three"
    assert (target / "README").read_text() == (target / "own" / "x").read_text() == "mine"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path, kind: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "b")
    for text in ("one", "two"):
        with (whole.new_folder if kind == "folder" else whole.new_file)(tmp_path / "a") as staged:
            (staged / "x" if kind == "folder" else staged).write_text(text)
    assert (tmp_path / "a").is_symlink()
    assert ((tmp_path / "disk" / "b" / "x") if kind == "folder" else tmp_path / "disk" / "b").read_text() == "two"
    assert names(tmp_path / "disk") == ["b"]


def test_what_earlier_versions_left_is_removed(tmp_path: Path) -> None:
    for left in (".a.part", ".a.4711.part", ".a.writing"):
        (tmp_path / left).write_text("half")
    whole.write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"]
