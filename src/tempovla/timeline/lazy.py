"""Packages that offer the names of their modules, and load each of these when it is first asked for."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, and have `dir(package)` list the names before they are loaded.

    Args:
        package: its name.
        modules: of the package, to the names that each offers.
    """
    home = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    own = vars(sys.modules[package])
    own["__dir__"] = lambda: sorted({*own, *home})
    return get
