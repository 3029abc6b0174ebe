"""Code blocks of pages."""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^```python[ ]*(?P<mark>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> str:
    """The code of a page on its own lines, so that errors point into the page."""
    text = page.read_text()
    kept = [""] * text.count("\n")
    for fence in FENCE.finditer(text):
        if fence["mark"] != "notest":
            first = text[: fence.start("code")].count("\n")
            lines = fence["code"].splitlines()
            kept[first : first + len(lines)] = lines
    return "\n".join(kept)


def marks(page: Path) -> set[str]:
    """What the blocks of a page are marked with."""
    return {fence["mark"] for fence in FENCE.finditer(page.read_text())}
