"""What will be written in the end is checked before the work begins, and nothing is left by the check."""

from __future__ import annotations

import os

import pytest

from tempovla.storage.writable import check_file, check_folder


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
        ("run/bundle.json", "would overwrite a file of the checkpoint run; give another file$"),
        ("run/trainer.json", "would overwrite a file of the checkpoint run"),
        ("data/meta/stats.json", "would overwrite a file of the dataset data"),
        ("policy.onnx.json", "would overwrite a file of the exported policy policy.onnx"),
    ],
)
def test_what_cannot_be_written_or_would_be_destroyed_is_refused(crowded, name, message):
    before = {path: path.lstat().st_mtime_ns for path in crowded.rglob("*")}
    with pytest.raises(ValueError, match=message):
        check_file(type(crowded)(name), "--json", ["a.json"])
    assert {path: path.lstat().st_mtime_ns for path in crowded.rglob("*")} == before


def test_a_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("tempovla.storage.writable.TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot be written \(Read-only file system\), so r.json would be lost"):
        check_file(tmp_path / "new" / "r.json", "--json")
