"""The site has a page for every public package; `make docs` finds pages and links that lead nowhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tempovla"
WITHOUT_PAGE = {"cli"}
"""Used as commands, which help and pages explain."""


def packages() -> set[str]:
    """Rooms, and the floors of `model`."""
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - WITHOUT_PAGE - {"model"}
    floors = {f"model.{path.parent.name}" for path in (SOURCE / "model").glob("*/__init__.py")}
    return {f"tempovla.{name}" for name in rooms | floors}


def test_every_public_package_has_a_page_of_the_api_and_is_in_the_navigation():
    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md")}
    shown = {name: path for path, text in pages.items() for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}
    assert packages() <= set(shown)
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in pages if f"- api/{path.name}\n" not in navigation] == []


def test_marks_of_code_blocks_are_known_to_the_site():
    """It would show a block with another mark as text, and the page behind it as code."""
    hook = runpy.run_path(str(ROOT / "scripts" / "site_fences.py"))
    assert "hooks: [scripts/site_fences.py]" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        shown = hook["on_page_markdown"](page.read_text(encoding="utf-8"))
        assert re.findall(r"^```\w+ .+$", shown, re.MULTILINE) == [], page
