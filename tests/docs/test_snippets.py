"""Every ```python block in README and docs runs; the blocks of one page share their names, in order.

A fence marked ```python notest is shown to the reader but not run; a page with one marked ```python sim needs the
simulator, with one marked ```python libero LIBERO and its assets.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from tests.in_process import simulators_in_process
from tests.registries import registries_as_before
from tests.snippets import marks, snippets

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.sim] * bool(marks(page) & {"sim", "libero"})
        )
        for page in PAGES
    ],
)
def test_python_in_the_docs_runs(page, tmp_path, monkeypatch, request):
    if "sim" in marks(page):
        pytest.importorskip("metaworld")
    if "libero" in marks(page):
        request.getfixturevalue("libero_assets")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")  # where dataclasses look for the names in their annotations
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with registries_as_before(), simulators_in_process() if marks(page) & {"sim"} else nullcontext():
        exec(compile(snippets(page), page, "exec"), vars(module))


def test_blocks_keep_their_lines_and_marked_ones_are_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\na = 1\n```\n\n```python notest\nb = launch()\n```\n```bash\nls\n```\n")
    assert snippets(page).splitlines()[3] == "a = 1"
    assert snippets(page).split() == ["a", "=", "1"]
