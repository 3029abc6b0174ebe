"""No text file is read or written in whatever encoding the locale of a machine says."""

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))


def without_encoding(path: Path) -> list[int]:
    """Lines that open a file as text without naming an encoding."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        opens_text = name == "open" and modes and set(modes[-1]) <= set("rwax+t") and modes[-1] != ""
        is_video = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "av"
        is_path = isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text")
        if is_path or (opens_text and not is_video):
            found.append(node.lineno)
    return found


def test_every_text_file_is_utf_8():
    assert {str(path): lines for path in SOURCES if (lines := without_encoding(path))} == {}


@pytest.mark.parametrize("call", ["path.read_text()", "path.write_text(x)", "path.open('a')", "open(path, 'w')"])
def test_the_search_finds_what_it_looks_for(tmp_path, call):
    path = tmp_path / "some.py"
    path.write_text(f"{call}\npath.open('rb')\n", encoding="utf-8")
    assert without_encoding(path) == [1]
