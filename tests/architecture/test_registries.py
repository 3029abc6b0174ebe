"""Registries are literal dicts from names to classes that exist and can be built."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tempovla
from tempovla.recipe.settings.system import System
from tempovla.timeline.lazy import loaded

SOURCE = Path(tempovla.__file__).parent
PLACE = re.compile(r"tempovla[\w.]*:\w+")


def registries() -> Iterator[tuple[str, str]]:
    """Module and name of every module-level `*_REGISTRY`."""
    for info in pkgutil.walk_packages([str(SOURCE)], "tempovla."):
        module = SOURCE.parent / (info.name.replace(".", "/") + ".py")
        if module.is_file():
            for node in ast.parse(module.read_text()).body:
                target = node.target if isinstance(node, ast.AnnAssign) else None
                if isinstance(target, ast.Name) and target.id.endswith("_REGISTRY"):
                    value = node.value
                    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                        assert value.func.id == "LazyRegistry"
                        value = value.args[0]
                    assert isinstance(value, ast.Dict), f"{info.name}.{target.id} is not a literal dict"
                    yield info.name, target.id


def test_registries_are_found():
    assert ("tempovla.model.vla.registry", "POLICY_REGISTRY") in set(registries())


@pytest.mark.parametrize(("module", "name"), list(registries()))
def test_every_entry_is_a_class_or_a_system_under_a_plain_name(module, name):
    """An entry that is loaded when it is asked for is `module:name`; the help's words about it may stand beside it."""
    entries = getattr(importlib.import_module(module), name)
    assert entries
    for key, value in entries.items():
        assert key.replace("-", "_").isidentifier()
        parts = value if isinstance(value, tuple) else (value,)
        assert all(parts)
        for place, entry in enumerate(parts):
            is_text = isinstance(entry, str) and place > 0 and not PLACE.fullmatch(entry)
            assert is_text or isinstance(loaded(entry), type | System)
