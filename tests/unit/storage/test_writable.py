"""What will be written in the end is checked before the work begins, and nothing is left by the check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tempovla.storage.writable import check_apart, check_file, check_folder, expanded


def test_a_new_file_in_a_new_folder_is_fine_and_is_not_made(tmp_path):
    check_file(tmp_path / "deep" / "results.json", "--json", [tmp_path / "absent"])
    check_folder(tmp_path / "run", "the run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "results.json").write_text("{}")
    check_file(tmp_path / "results.json", "--json", [tmp_path])


@pytest.fixture
def crowded(tmp_path, monkeypatch):
    """A folder with a checkpoint, a dataset, an export, a file, a link to it, a broken link and a pipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("run/bundle.json", "run/trainer.json", "data/meta/info.json", "data/meta/stats.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    for name in ("policy.onnx", "policy.onnx.json", "a.json"):
        (tmp_path / name).write_text("{}")
    os.symlink("a.json", "b.json")
    os.symlink("nowhere", "broken")
    os.mkfifo("pipe")
    os.symlink("loop.json", "loop.json")
    os.symlink(".", "here")
    os.symlink("data/meta/info.json", "linked.json")
    os.symlink("a.json/new.json", "leads_into_a_file.json")
    for name in ("pretrained/config.json", "pretrained/tokenizer.json", "run/deep/notes.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run", "^--json run: is a folder; give a file in it, such as run/results.json$"),
        ("a.json/b.json", "^a.json: a file, so b.json cannot be written into a.json; give another folder$"),
        ("broken/b.json", "^broken: a file, so b.json cannot be written into broken"),
        ("pipe", "^pipe: is a named pipe, not a file; give --json a file$"),
        ("a.json", "^--json a.json: would overwrite what is read, a.json; give another file$"),
        ("b.json", "^--json b.json: would overwrite what is read, a.json; give another file$"),
        ("run/bundle.json", "^--json run/bundle.json: lies in the checkpoint run, in which nothing else is kept; give"),
        ("run/trainer.json", "lies in the checkpoint run, "),
        ("run/deep/new.json", "lies in the checkpoint run, "),
        ("data/meta/stats.json", "lies in the dataset data, "),
        ("data/new/results.json", "lies in the dataset data, "),
        ("here/data/results.json", "lies in the dataset here/data, "),
        ("run/../data/results.json", "lies in the dataset /.*/data, "),
        ("linked.json", "^--json linked.json: lies in the dataset /.*/data, "),
        ("leads_into_a_file.json", "a.json: a file, so leads_into_a_file.json cannot be written into"),
        ("pretrained/tokenizer.json", "would overwrite what is read, pretrained/tokenizer.json"),
        (
            "loop.json",
            r"^loop.json: cannot be written \(Too many levels of symbolic links\), so --json loop.json would be",
        ),
        ("loop.json/x.json", "^loop.json/x.json: cannot be written"),
        (f"{'x' * 300}.json", r"^x{40}\.\.\.: a name of 305 bytes, but 220 are the most; give a shorter one$"),
        (f"{'x' * 230}.json", "a name of 235 bytes"),
        (f"{'x' * 300}/a.json", "a name of 300 bytes"),
        ("half\ud800.json", r"^'half\\ud800.json': holds half a character, so it names no file; give another name$"),
        ("results.jsonl", "^--json results.jsonl: does not end in .json; give a file that does, such as results.json$"),
        ("policy.onnx.json", "would overwrite a file of the exported policy policy.onnx"),
    ],
)
def test_what_cannot_be_written_or_would_be_destroyed_is_refused(crowded, name, message):
    before = {path: path.lstat().st_mtime_ns for path in crowded.rglob("*")}
    with pytest.raises(ValueError, match=message):
        check_file(Path(name), "--json", ["a.json", "pretrained", "x" * 300], (".json",))
    assert {path: path.lstat().st_mtime_ns for path in crowded.rglob("*")} == before


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("tempovla.storage.writable.TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot be written \(Read-only file system\), so r.json would be lost"):
        check_file(tmp_path / "new" / "r.json", "--json")


def test_a_folder_that_a_dataset_or_checkpoint_holds_is_refused_unless_the_work_makes_one(crowded):
    for name, may_be in (("data", "dataset"), ("run", "checkpoint"), ("here/data", "dataset"), ("new", None)):
        check_apart(Path(name), "--out", may_be)
    for name, may_be, message in (
        ("data", None, "^--out data: is a dataset, in which nothing else is kept; give another place$"),
        ("here/run", "dataset", "^--out here/run: is a checkpoint, "),
        ("data/data", "dataset", "^--out data/data: lies in the dataset data, "),
        ("run/new/deep", "checkpoint", "^--out run/new/deep: lies in the checkpoint run, "),
    ):
        with pytest.raises(ValueError, match=message):
            check_apart(Path(name), "--out", may_be)


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    places = ["~/a.json", "~", "./~/a.json", "a~b"]
    assert [str(expanded(place)) for place in places] == ["/home/somebody/a.json", "/home/somebody", "~/a.json", "a~b"]
