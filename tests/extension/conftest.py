"""A folder in which a page is followed, and nothing that stays registered afterwards."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.command_line import fails, logging_as_before, tempovla
from tests.registries import registries_as_before

from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter
from tempovla.timeline import plugins

__all__ = ["fails", "logging_as_before", "tempovla"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The current folder, in which Python finds modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with registries_as_before():
        yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def forget(folder) -> Callable[[str], None]:
    """Have this process know a plugin no more."""

    def forgotten(name: str) -> None:
        del plugins._in_use[name], sys.modules[name]

    return forgotten


@pytest.fixture
def tabletop(folder) -> Path:
    """Five short episodes of an arm such as Meta-World's, in outputs/data: what the packaged configs are made for."""
    cameras = {f"observation.images.{name}": Feature("image", (16, 16, 3)) for name in ("corner2", "gripperPOV")}
    features = {"observation.state": Feature("float32", (4,)), "action": Feature("float32", (4,)), **cameras}
    random = np.random.default_rng(0)
    root = folder / "outputs" / "data"
    with DatasetWriter(root, features, 10.0, robot_type="toy") as writer:
        for episode in range(5):
            action = random.normal(size=(20, 4)).astype(np.float32)
            action[:, 3] = np.where(np.arange(20) < 10, -1.0, 1.0)
            pictures = {key: random.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8) for key in cameras}
            state = random.normal(size=(20, 4)).astype(np.float32)
            writer.add_episode({"observation.state": state, "action": action, **pictures}, f"task {episode % 2}")
    return root
