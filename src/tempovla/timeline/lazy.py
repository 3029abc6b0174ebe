"""Names and registry entries whose modules are loaded at first use."""

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Any, TypeVar, Union, cast

T = TypeVar("T")

Lazy = Union[T, str]  # noqa: UP007 - an alias of a type variable
"""An object, or `module:name`, from which it is loaded at first use."""


def loaded(entry: Lazy[T]) -> T:
    """Return the object that an entry of a registry stands for."""
    if not isinstance(entry, str):
        return entry
    module, _, name = entry.partition(":")
    return cast(T, getattr(import_module(module), name))


def names_it(entry: Lazy[Any], thing: type) -> bool:
    """Return whether an entry stands for this class; nothing is loaded to find out."""
    return entry == f"{thing.__module__}:{thing.__qualname__}" if isinstance(entry, str) else entry is thing


class LazyRegistry(MutableMapping[str, T]):
    """A registry whose entries are loaded at first use; its names are available without that.

    Args:
        entries: by name, an object or `module:name`.
    """

    def __init__(self, entries: Mapping[str, Lazy[T]]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        entry = loaded(self._entries[name])
        self._entries[name] = entry
        return entry

    def name_of(self, thing: type) -> str:
        """Return the name of a class; no other entry is loaded to find it.

        Raises:
            KeyError: if the class is not in the registry.
        """
        for name, entry in self._entries.items():
            if names_it(entry, thing):
                return name
        raise KeyError(thing.__name__)

    def __setitem__(self, name: str, entry: Lazy[T]) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


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
