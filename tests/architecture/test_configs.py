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


def subclasses(config: type) -> Iterator[type]:
    """All classes below a config."""
    for below in config.__subclasses__():
        yield below
        yield from subclasses(below)


def names_read(path: Path) -> Iterator[tuple[str, str]]:
    """What a module reads: a class and an attribute of its `self`, or "" and any other attribute or a string.

    A string may be the name for a getattr. What a class checks in `__post_init__` does not count.
    """
    for owner, node in _outside_post_init(ast.parse(path.read_text()), ""):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
            yield owner if is_own else "", node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield "", node.value


def _outside_post_init(node: ast.AST, owner: str) -> Iterator[tuple[str, ast.AST]]:
    yield owner, node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.FunctionDef) and child.name == "__post_init__"):
            yield from _outside_post_init(child, child.name if isinstance(child, ast.ClassDef) else owner)


@pytest.fixture(scope="module")
def read() -> set[tuple[str, str]]:
    return {entry for path in SOURCE.rglob("*.py") for entry in names_read(path)}


def test_configs_are_found():
    assert {"StateVLARecipe", "StateVLAConfig", "JepaConfig", "TrainConfig", "DemoConfig"} <= set(configs())


@pytest.mark.parametrize("config", configs().values(), ids=configs())
def test_every_config_field_is_read_somewhere(config, read):
    """A field of a config is not read by another class that has an attribute of the same name."""
    bases = [base for base in config.__mro__ if dataclasses.is_dataclass(base)]
    family = {"", *(each.__name__ for base in bases for each in (base, *subclasses(base)))}
    names = [field.name for field in dataclasses.fields(config)]
    unread = [name for name in names if not any((owner, name) in read for owner in family)]
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
