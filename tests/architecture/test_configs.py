"""Config dataclasses have no field that nothing reads."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tempovla

SOURCE = Path(tempovla.__file__).parent


def modules() -> Iterator[str]:
    """Names of all modules."""
    for info in pkgutil.walk_packages([str(SOURCE)], "tempovla."):
        if not info.name.endswith("__main__"):
            yield info.name


def configs() -> dict[str, type]:
    """Every dataclass whose name ends in Config, Training or Recipe, by name."""
    found = {}
    for name in modules():
        module = importlib.import_module(name)
        for value in vars(module).values():
            is_own = inspect.isclass(value) and value.__module__ == name
            if is_own and dataclasses.is_dataclass(value) and value.__name__.endswith(("Config", "Training", "Recipe")):
                found[value.__name__] = value
    return found


def names_read(path: Path) -> Iterator[str]:
    """Attributes that a module reads, and strings in it, as for getattr; a class's own validation does not count."""
    for node in _outside_post_init(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def _outside_post_init(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.FunctionDef) and child.name == "__post_init__"):
            yield from _outside_post_init(child)


@pytest.fixture(scope="module")
def read() -> set[str]:
    return {name for path in SOURCE.rglob("*.py") for name in names_read(path)}


def test_configs_are_found():
    assert {"StateVLARecipe", "StateVLAConfig", "JepaConfig", "TrainConfig", "DemoConfig"} <= set(configs())


@pytest.mark.parametrize("config", configs().values(), ids=configs())
def test_every_config_field_is_read_somewhere(config, read):
    unread = [field.name for field in dataclasses.fields(config) if field.name not in read]
    assert not unread, f"{config.__name__} has fields that nothing reads: {unread}"


@pytest.mark.parametrize("config", configs().values(), ids=configs())
def test_every_config_is_frozen_and_explains_its_fields(config):
    assert config.__dataclass_params__.frozen
    inherited = {
        field.name
        for base in config.__mro__[1:]
        if dataclasses.is_dataclass(base)
        for field in dataclasses.fields(base)
    }
    own = [field.name for field in dataclasses.fields(config) if field.name not in inherited]
    assert config.__doc__ is not None
    explained = [line.split(":")[0].replace(" ", "").split(",") for line in config.__doc__.splitlines() if ":" in line]
    missing = set(own) - {name for names in explained for name in names}
    assert config.__name__ == "StateVLARecipe" or not missing, f"{config.__name__} does not explain {sorted(missing)}"
