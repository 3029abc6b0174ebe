"""Packages that load their modules when a name of them is asked for."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import tempovla
from tempovla.timeline.lazy import LazyRegistry

LAZY = [
    info.name
    for info in pkgutil.walk_packages(tempovla.__path__, "tempovla.")
    if info.ispkg and hasattr(import_module(info.name), "_MODULES")
]


def test_lazy_packages_are_found():
    assert {"tempovla.model", "tempovla.model.vla", "tempovla.timeline"} <= set(LAZY)


@pytest.mark.parametrize("name", LAZY)
def test_dir_lists_every_name_and_what_the_package_has_anyway(name):
    package = import_module(name)
    assert {*package.__all__, "__all__", "__name__"} <= set(dir(package))
    for offered in package.__all__:
        assert getattr(package, offered) is not None


def test_dir_loads_nothing():
    script = "import sys, tempovla.model; print('VLAModel' in dir(tempovla.model), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_name_that_is_not_offered_is_no_attribute():
    with pytest.raises(AttributeError, match=r"module 'tempovla\.model' has no attribute 'VLAModell'"):
        _ = tempovla.model.VLAModell


def test_a_registry_loads_an_entry_when_it_is_first_asked_for():
    registry = LazyRegistry({"counter": "collections:Counter", "gone": "tempovla.no_such_module:Thing"})
    assert "gone" in registry
    assert "other" not in registry
    assert list(registry) == ["counter", "gone"]
    assert registry["counter"].__name__ == "Counter"
    with pytest.raises(ModuleNotFoundError):
        registry["gone"]
    registry["gone"] = int
    assert dict(registry)["gone"] is int
    del registry["gone"]
    assert len(registry) == 1
    assert registry.get("gone") is None
