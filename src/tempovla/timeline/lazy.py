"""Packages that offer the names of their modules, and load each of these when it is first asked for."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")

Lazy = Union[T, str]  # noqa: UP007 - an alias of a type variable
"""An object, or `module:name` where it is found when it is first asked for."""


def loaded(entry: Lazy[T]) -> T:
    """What an entry of a registry stands for."""
    if not isinstance(entry, str):
        return entry
    module, _, name = entry.partition(":")
    return cast(T, getattr(import_module(module), name))


def names_it(entry: Lazy[Any], thing: type) -> bool:
    """Whether an entry stands for this class; nothing is loaded to find out."""
    return entry == f"{thing.__module__}:{thing.__qualname__}" if isinstance(entry, str) else entry is thing


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
