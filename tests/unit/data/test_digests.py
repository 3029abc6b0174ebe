"""Digests of files: small ones whole, large ones in blocks, numbers always; kept while nothing was changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempovla.data import digests
from tempovla.data.digests import ABSENT, WHOLE_BYTES, file_digest, file_digests


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


def test_every_byte_of_a_small_file_counts(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(WHOLE_BYTES))
    before = file_digest(path)
    assert before.startswith(f"{WHOLE_BYTES}-")
    for place in (0, 70_001, WHOLE_BYTES - 1):
        flip(path, place)
        assert file_digest(path) != before
        flip(path, place)
    assert file_digest(path) == before


def test_of_a_large_file_size_and_ends_count_and_a_bounded_part_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(3_000_000))
    before = file_digest(path)
    for place in (0, 16_000, 2_999_999):
        flip(path, place)
        assert file_digest(path) != before
        flip(path, place)
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(args[1]) or pread(*args))
    assert file_digest(path) == before
    assert sum(read) <= WHOLE_BYTES
    path.write_bytes(bytes(3_000_001))
    assert file_digest(path) != before


def test_one_changed_action_among_pictures_counts(tmp_path):
    path = tmp_path / "a.parquet"
    pictures = pa.array([np.random.default_rng(row).bytes(8000) for row in range(400)])
    actions = np.arange(400, dtype=np.float32)

    def write() -> str:
        table = pa.table({"front": pictures, "action": actions, "wrist": pictures})
        pq.write_table(table, path, compression=None, use_dictionary=False, write_statistics=False)
        return file_digest(path)

    before = write()
    assert write() == before
    actions[211] += 1e-4
    assert write() != before


@pytest.fixture
def many(tmp_path, monkeypatch) -> dict[str, Path]:
    """As many files as are kept, changed a while ago."""
    monkeypatch.setenv("TEMPOVLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_SETTLED_S", -60.0)
    root = tmp_path / "dataset"
    root.mkdir()
    files = {f"{index}.bin": root / f"{index}.bin" for index in range(70)}
    for name, path in files.items():
        path.write_bytes(name.encode() * 3)
    return files


def test_what_was_digested_is_not_read_again_until_it_is_changed(tmp_path, many, monkeypatch):
    root = tmp_path / "dataset"
    before = file_digests(root, many)
    assert before == {name: file_digest(path) for name, path in many.items()}
    read: list[Path] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: read.append(path) or file_digest(path))
    assert file_digests(root, many) == before
    assert read == []
    times = many["7.bin"].stat()
    flip(many["7.bin"], 2)
    os.utime(many["7.bin"], ns=(times.st_atime_ns, times.st_mtime_ns))  # as some tools do
    after = file_digests(root, many)
    assert read == [many["7.bin"]]
    assert {name for name in before if after[name] != before[name]} == {"7.bin"}


def test_a_file_that_was_changed_just_now_is_read_again(tmp_path, many, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_S", 60.0)
    file_digests(tmp_path / "dataset", many)
    (table,) = (tmp_path / "cache/digests").iterdir()
    assert json.loads(table.read_text())["files"] == {}


def test_a_pipe_or_a_device_is_absent_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zeros.mp4").symlink_to("/dev/zero")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe", "zeros", "folder"):
        assert file_digest(tmp_path / f"{name}.mp4") == ABSENT


def test_a_pipe_in_the_place_of_the_table_is_passed_by(tmp_path, many):
    before = file_digests(tmp_path / "dataset", many)
    (table,) = (tmp_path / "cache/digests").iterdir()
    table.unlink()
    os.mkfifo(table)
    assert file_digests(tmp_path / "dataset", many) == before


@pytest.mark.parametrize("content", ["", "[]", '{"machine": 1}', '{"files": {"7.bin": [1]}}', "\x00"])
def test_a_damaged_table_or_that_of_another_machine_is_made_again(tmp_path, many, content):
    before = file_digests(tmp_path / "dataset", many)
    (table,) = (tmp_path / "cache/digests").iterdir()
    whole = table.read_text()
    table.write_text(content)
    assert file_digests(tmp_path / "dataset", many) == before
    assert table.read_text() == whole
