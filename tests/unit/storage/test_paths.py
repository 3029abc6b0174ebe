"""Names out of strangers' files do not lead out of their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tempovla.storage.paths import LINKED_FOLDERS_VARIABLE, Inside, inside, is_plain_name, regular_file


def asked(root: Path, name: str) -> Path:
    return inside(root, name, said_by="info.json: data_path", remedy="repair it")


@pytest.mark.parametrize("name", ["a", "a/b.parquet", "./a", "a/./b", "..a/b..", "déjà vu/é.mp4", "a" * 255])
def test_plain_relative_names_stay(tmp_path: Path, name: str) -> None:
    assert asked(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../victim", "leads out of the folder"),
        ("a/../../victim", "leads out of the folder"),
        ("a/..", "leads out of the folder"),
        ("/etc/passwd", "is not a path relative to the folder"),
        ("C:/windows", "is not a path relative to the folder"),
        ("..\\victim", "is not a path relative to the folder"),
        ("", "is empty"),
        (".", "is empty"),
        ("a\x00b", "holds a control character"),
        ("a\nb", "holds a control character"),
        ("\ud800", "holds half a character"),
        ("a/" + "é" * 128, "has a part of 256 bytes"),
    ],
)
def test_other_names_are_refused_in_one_line(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as told:
        asked(tmp_path, name)
    line = str(told.value)
    assert line.startswith(f"{tmp_path}: info.json: data_path {name!r} ")
    assert line.endswith("; repair it")
    assert "\n" not in line


def test_links_stay_inside_or_go_where_the_user_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "real").mkdir()
    (root / "near").symlink_to("real")
    (root / "far").symlink_to(elsewhere)
    assert asked(root, "near/a") == root / "near/a"
    with pytest.raises(
        ValueError, match=rf"far/a: a link that leads out of {root}, to {elsewhere}/a; .*LINKED_FOLDERS"
    ):
        asked(root, "far/a")
    monkeypatch.setenv(LINKED_FOLDERS_VARIABLE, os.pathsep.join(["/nowhere", str(elsewhere)]))
    assert asked(root, "far/a") == root / "far/a"
    monkeypatch.setenv(LINKED_FOLDERS_VARIABLE, str(tmp_path / "else"))  # a beginning of the name is another folder
    with pytest.raises(ValueError, match="leads out"):
        asked(root, "far/a")


def test_a_root_that_is_itself_reached_by_a_link_holds_its_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert asked(tmp_path / "link", "a") == tmp_path / "link" / "a"


def test_a_snapshot_of_the_hubs_cache_links_to_its_own_blobs_alone(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / name / "blobs").mkdir(parents=True)
        (tmp_path / name / "blobs" / "1f").write_bytes(b"x")
    snapshot = tmp_path / "mine" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "a").symlink_to("../../blobs/1f")
    (snapshot / "b").symlink_to("../../../other/blobs/1f")
    assert asked(snapshot, "a").read_bytes() == b"x"
    with pytest.raises(ValueError, match="leads out"):
        asked(snapshot, "b")


def test_a_plain_name_is_one_part() -> None:
    assert is_plain_name("observation.images.front")
    assert not any(map(is_plain_name, ("a/b", "..", ".", "", "a\\b", "a\0", "x" * 256)))


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    assert regular_file(tmp_path / "file", remedy="copy it") == tmp_path / "file"
    for name, what in (("pipe", "is a named pipe"), ("absent", "no such file"), ("loop", "not readable")):
        with pytest.raises(ValueError, match=rf"{name}: {what}.*; copy it"):
            regular_file(tmp_path / name, remedy="copy it")
    with pytest.raises(ValueError, match="is a device, not a file"):
        regular_file(Path("/dev/zero"), remedy="copy it")
    with pytest.raises(ValueError, match="is a folder, not a file"):
        regular_file(tmp_path, remedy="copy it")


def test_many_names_of_one_folder_are_held_to_the_same_rules(tmp_path: Path) -> None:
    root, away = tmp_path / "data", tmp_path / "away"
    (root / "chunk").mkdir(parents=True)
    away.mkdir()
    (root / "chunk" / "b").symlink_to(away / "secret")
    (root / "chunk" / "c").symlink_to("a")
    (root / "chunk" / "loop").symlink_to("loop")
    (root / "out").symlink_to(away)
    (root / "in").symlink_to("chunk")
    within = Inside(root)

    def ask(name: str) -> Path:
        return within.path(name, "info.json: data_path", "repair it")

    for _ in range(2):  # the second time, the folders are known
        for name in ("chunk/a", "chunk/c", "chunk/new", "in/a", "in/c"):
            assert ask(name) == root / name
        for name in ("chunk/b", "out/a", "in/b", "out"):
            with pytest.raises(ValueError, match="a link that leads out of"):
                ask(name)
        for name in ("chunk/../../away/secret", "chunk/..", "chunk/a\n", "chunk/" + "a" * 256):
            with pytest.raises(ValueError, match="; repair it"):
                ask(name)
    assert ask("chunk/loop") == root / "chunk" / "loop"  # whoever opens it is told that it is one


def test_links_of_links_are_followed_to_their_end(tmp_path: Path) -> None:
    root, cache = tmp_path / "models" / "snapshots" / "abc", tmp_path / "models" / "blobs"
    (root / "data").mkdir(parents=True)
    cache.mkdir()
    (cache / "123").write_text("x")
    (cache / "456").symlink_to(tmp_path / "secret")
    (root / "data" / "a").symlink_to("../../../blobs/123")
    (root / "data" / "b").symlink_to("../../../blobs/456")
    within = Inside(root)
    assert within.path("data/a", "it", "repair it").read_text() == "x"
    with pytest.raises(ValueError, match="a link that leads out of"):
        within.path("data/b", "it", "repair it")
