"""The messages that docs/how-to/troubleshooting.md explains are messages that the code gives."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
ROW = re.compile(r"^\| `(?P<message>[^`|]*(?:``[^`|]*``[^`|]*)*)` \|(?P<rest>.*)\|$", re.MULTILINE)
VALUE = "…"
"""Stands for what differs from case to case."""


@cache
def texts() -> list[str]:
    """All string literals of the package, with `VALUE` where something is put in."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text())
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                values = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
                found.append("".join(map(str, values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                found.append(re.sub(r"%[sdrf]|%\.\d+f", VALUE, node.value))
    return found


def messages() -> list[str]:
    return [row["message"] for row in ROW.finditer(PAGE.read_text())]


@pytest.mark.parametrize("message", messages())
def test_the_code_gives_this_message(message):
    pieces = [re.escape(piece.strip()) for piece in message.split(VALUE) if piece.strip()]
    assert pieces
    pattern = re.compile(".*?".join(pieces), re.DOTALL)
    assert any(pattern.search(text) for text in texts())


def test_the_page_explains_many_and_each_row_has_a_meaning_and_a_remedy():
    assert len(messages()) > 40
    assert len(set(messages())) == len(messages())
    for row in ROW.finditer(PAGE.read_text()):
        cells = [cell.strip() for cell in row["rest"].split("|")]
        assert len(cells) == 2
        assert all(cells), row["message"]
