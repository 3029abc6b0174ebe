"""An environment that holds the built wheel and the packages that its core dependencies bring, and nothing else.

It is made of links to what is installed here, so that it needs no network and little time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src")
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of what it is made of, so that nothing is left behind in the checkout."""
    for name in SOURCES:
        source, copy = ROOT / name, folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, copy)
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def bare_environment() -> dict[str, str]:
    """The environment without what tells Python to find this checkout, where a package seems installed already."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def core_distributions() -> set[str]:
    """Names of the packages that the core dependencies bring along here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in distribution(wanted.name).requires or []:
            needed = Requirement(text)
            extras = {"", *wanted.extras}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {name for name, _ in seen}


def make_environment(folder: Path) -> Path:
    """Make the environment, without this package; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for name in core_distributions():
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link, installed = site_packages / top, Path(str(found.locate_file(top)))
            if installed.exists() and not link.exists():
                link.symlink_to(installed)
    return folder / "bin" / "python"


def install(python: Path, wheel: Path) -> None:
    """Install a wheel into the environment, without its dependencies, which are there."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    command = [*pip, "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    done = subprocess.run(command, env=bare_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
