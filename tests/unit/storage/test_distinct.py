"""Outputs of one piece of work take no place of each other's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tempovla.storage.distinct import Place, check_distinct

FILE, FOLDER = Place(Path("r.json"), is_file=True), Place(Path("run"), is_file=False)


@pytest.fixture(autouse=True)
def linked(tmp_path, monkeypatch):
    """A link to the folder itself, and a link to a file that is not there yet."""
    monkeypatch.chdir(tmp_path)
    os.symlink(".", "here")
    os.symlink("r.json", "link.json")


@pytest.mark.parametrize(
    "other",
    [
        Place(Path("r.json.d"), is_file=False, admits="nothing"),
        Place(Path("new/r.json"), is_file=True),
        Place(Path("."), is_file=False),
        Place(Path("."), is_file=False, admits="files"),
    ],
)
def test_outputs_that_leave_each_other_alone_are_fine(other):
    check_distinct({"--json": FILE, "--out": other})


@pytest.mark.parametrize(
    ("path", "other", "message"),
    [
        ("r.json", FILE, "^--json r.json: is the place of --out r.json; give another file$"),
        ("link.json", FILE, "^--json link.json: is the place of --out r.json"),
        ("here/r.json", FILE, "^--json here/r.json: is the place of --out r.json"),
        ("here/run", FOLDER, "^--json here/run: is the place of --out run"),
        ("run", Place(Path("here/run/deep"), is_file=False), "^--json run: is the place of --out here/run/deep"),
        (
            "p.pt.json",
            Place(Path("here/p.pt"), is_file=True, beside=(Path("here/p.pt.json"),)),
            "^--json p.pt.json: is a file that --out here/p.pt writes as well; give another file$",
        ),
        (
            "set/r.json",
            Place(Path("here/set"), is_file=False, admits="nothing"),
            "^--json set/r.json: lies in --out here/set, in which nothing else is kept; give another place$",
        ),
        (
            "run/last/bundle.json",
            Place(Path("run"), is_file=False, admits="files"),
            "^--json run/last/bundle.json: lies in a folder of --out run; give run/bundle.json$",
        ),
    ],
)
def test_a_place_that_another_output_takes_is_refused(path, other, message):
    with pytest.raises(ValueError, match=message):
        check_distinct({"--json": Place(Path(path), is_file=True), "--out": other})
