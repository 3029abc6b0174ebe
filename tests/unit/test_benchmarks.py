"""Benchmarks share functions with each other; what one of them imports is there."""

from __future__ import annotations

import ast
from pathlib import Path

BENCHMARKS = {path.stem: path for path in Path(__file__).parents[2].joinpath("benchmarks").glob("*.py")}


def top_level_names(path: Path) -> set[str]:
    """What a module defines or imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def test_what_benchmarks_import_from_each_other_is_there():
    missing = [
        f"{path.name}: {node.module}.{alias.name}"
        for path in BENCHMARKS.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in BENCHMARKS
        for alias in node.names
        if alias.name not in top_level_names(BENCHMARKS[node.module])
    ]
    assert BENCHMARKS
    assert missing == []
