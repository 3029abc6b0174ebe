"""Plugins: modules of users that add to the registries as they are imported.

Importing a module runs its code, so a file alone never causes it. A config or a checkpoint may name the plugins that it
needs; they are imported if the user trusts them: named with `--plugin` or in the environment variable
`TEMPOVLA_PLUGINS`, or declared by an installed package under the entry point group `tempovla.plugins`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points

VARIABLE = "TEMPOVLA_PLUGINS"
"""Names of trusted plugins, with commas between."""
GROUP = "tempovla.plugins"
"""The group of entry points in which an installed package declares its plugins: `anything = "my_robot.policies"`."""

FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
)
"""How a module of a user may fail as it is imported, to be told in one line."""

_in_use: dict[str, None] = {}


def use_plugin(name: str) -> None:
    """Import a plugin, because the user says so.

    Raises:
        ValueError: if the name is none, there is no such module, or it fails as it is imported.
    """
    _check_name(name)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"plugin {name}: {reason}; install it, or name its folder in PYTHONPATH") from error
    except FAILURES as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"plugin {name}: fails as it is imported ({reason}); mend the module") from error
    _in_use[name] = None


def _check_name(name: str) -> None:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"plugin {name!r} is no name of a module; give one such as my_robot.policies")


def plugins_in_use() -> tuple[str, ...]:
    """Return the plugins that were imported so far, in order; what is made with them needs them."""
    return tuple(_in_use)


def require_plugins(names: Iterable[str], where: str) -> None:
    """Import the plugins that a config or a checkpoint needs, if the user trusts them.

    Args:
        names: of modules.
        where: the file that names them, for messages.

    Raises:
        ValueError: naming the plugin that is not trusted or not there, and the remedy.
    """
    names = tuple(names)
    trusted = _trusted() if names else set()  # asking all installed packages takes 30 ms
    for name in names:
        try:
            _check_name(name)
            if name in _in_use or (name in sys.modules and name not in trusted):
                continue  # it has run already; that a file names it gives it no further trust
            if name in trusted:
                use_plugin(name)
                continue
        except ValueError as error:
            raise ValueError(f"{where}: needs the {error}") from error
        raise ValueError(
            f"{where}: needs the plugin {name!r}, whose code runs when it is imported; if you trust it, give --plugin "
            f"{name} (from Python, import it first), or name it in {VARIABLE}"
        )


def _trusted() -> set[str]:
    """Plugins that the environment or an installed package names."""
    declared = {entry.module for entry in entry_points(group=GROUP)}
    return (declared | {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}) - {""}
