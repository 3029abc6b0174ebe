"""What several tests need lies in a module of its own, where it is found."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FROM_A_TEST = re.compile(r"^\s*(?:from|import) (tests\.[\w.]*\b(?:test_\w+|conftest))\b", re.MULTILINE)


def test_no_test_imports_another_test_or_its_fixtures():
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        itself = ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
        others = set(FROM_A_TEST.findall(path.read_text(encoding="utf-8"))) - {itself}
        if others:
            found[itself] = others
    assert found == {}
