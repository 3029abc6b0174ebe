"""The command that installs an extra, wherever this package was installed from."""

from __future__ import annotations

import shlex
from importlib import metadata
from pathlib import Path

SOURCE_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that holds the package: `src` in a checkout, `site-packages` after an installation from a wheel."""


def install_command(extra: str) -> str:
    """Return one shell command that installs the packages of an extra and works in any folder.

    In a checkout it installs the checkout with the extra. Elsewhere it names the packages themselves, as it is not
    known whether an index offers this package.

    Args:
        extra: its name in `pyproject.toml`, such as `sim`.
    """
    checkout = SOURCE_FOLDER.parent
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}[{extra}]')}"
    packages = _packages(extra)
    return f"pip install {shlex.join(packages or [f'tempovla[{extra}]'])}"


def _packages(extra: str) -> list[str]:
    """Return the requirements of an extra, as the installed package's metadata lists them."""
    try:
        requirements = metadata.requires("tempovla") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        *others, last = marker.strip().replace("'", '"').split(" and ")
        if last == f'extra == "{extra}"':
            found.append("; ".join([package.strip(), *([" and ".join(others)] if others else [])]))
    return found
