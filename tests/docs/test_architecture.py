"""The page of the architecture names rooms and files as they are, and its picture shows the import contracts."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tempovla"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_picture_shows_the_contracts():
    spec = importlib.util.spec_from_file_location("structure_picture", ROOT / "benchmarks" / "structure_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PICTURE.read_text(encoding="utf-8") == module.draw(), "run benchmarks/structure_picture.py"


def test_the_page_lists_every_room_once():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE))))
def test_every_file_and_folder_that_the_page_names_exists(path):
    homes = [SOURCE, ROOT, SOURCE / "model" / "temporal", SOURCE / "model" / "vla"]
    bare = "/" not in path  # such as `registry.py` of a folder that the sentence names
    assert bare or any((home / path).exists() for home in homes)


def test_every_name_in_capitals_on_the_page_is_in_the_file_beside_it():
    for name, path in re.findall(r"`([A-Z_]{4,})` (?:in|of) `([\w/]+\.py)`", PAGE):
        assert re.search(rf"^{name}\b", (SOURCE / path).read_text(encoding="utf-8"), re.MULTILINE)
