"""A tiny recording, and recipes of a tiny StateVLA on it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.gripper_recordings import record
from tests.tiny import tiny_recipe

from tempovla.recipe.systems.statevla_config import StateVLARecipe


@pytest.fixture(autouse=True)
def on_the_cpu(request, monkeypatch) -> None:
    """Where training repeats bit for bit; tests marked `gpu` take the GPU."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory) -> Path:
    """Written once; a copy takes a tenth of the time."""
    return record(tmp_path_factory.mktemp("recorded") / "dataset")


@pytest.fixture
def dataset(tmp_path, recorded) -> Path:
    return shutil.copytree(recorded, tmp_path / "dataset")


@pytest.fixture
def recipe(dataset) -> StateVLARecipe:
    return tiny_recipe(dataset)


@pytest.fixture
def blind(recipe) -> StateVLARecipe:
    return replace(recipe, transform=replace(recipe.transform, blind=True))
