"""Rooms import only rooms below them, and a package's own import is light."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import tempovla

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(tempovla.__file__).parent
PACKAGES = [info.name for info in pkgutil.walk_packages([str(SOURCE)], "tempovla.") if info.ispkg]
MADE_OF_TENSORS = ("tempovla.timeline", "tempovla.timeline.laws", "tempovla.objective")


def test_the_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_package_imports_anything_heavy_by_itself():
    names = ", ".join(package for package in PACKAGES if package not in MADE_OF_TENSORS)
    script = f"import sys, {names}; print(*{{'torch', 'numpy', 'mujoco', 'av', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_simulator_workers_load_no_torch():
    pytest.importorskip("metaworld")
    script = "import sys, tempovla.env.vector, tempovla.env.collect; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_is_empty(package):
    inside = [info for info in pkgutil.iter_modules(import_module(package).__path__) if info.name != "__main__"]
    assert inside, f"{package} has no module; a room appears when something lives in it"


def test_every_module_has_a_docstring_that_says_what_it_is():
    for path in SOURCE.rglob("*.py"):
        assert path.read_text().startswith('"""'), f"{path} has no docstring"


def test_files_stay_small():
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 400} == {}
