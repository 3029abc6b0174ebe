"""Conversions that `tests.writers` kills: of a LeRobot v2.1 dataset, and of OpenVLA's weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.foreign import Foreign, write_v21
from tests.openvla_tiny import FRONT, save_published

from tempovla.data.convert import convert
from tempovla.env.registry import SIMULATOR_REGISTRY
from tempovla.recipe.systems.openvla_bundle import write_openvla_bundle
from tempovla.recipe.systems.openvla_config import OpenVLAModelConfig, OpenVLARecipe
from tempovla.timeline import Bundle, Embodiment

TOY = Embodiment("toy", state_dim=3, action_dim=3, rate_hz=10.0)
LIMITS = {"q01": [-1.0, -1.0, -1.0], "q99": [1.0, 1.0, 1.0]}
NORM_STATS = {
    "version 1": {"action": LIMITS},
    "version 2": {"action": {name: [2 * value for value in values] for name, values in LIMITS.items()}},
}


def v21_dataset(folder: Path) -> None:
    write_v21(folder / "source", Foreign(lengths=(3, 4)))


def convert_v21(folder: Path, version: int) -> None:
    if not (folder / "converted").exists():
        convert(folder / "source", folder / "converted")


def published_openvla(folder: Path) -> None:
    save_published(folder / "published", "take it", norm_stats=NORM_STATS)


def convert_openvla(folder: Path, version: int) -> None:
    recipe = OpenVLARecipe(model=OpenVLAModelConfig(str(folder / "published"), (FRONT,), dtype="float32"))
    with mock.patch.dict(SIMULATOR_REGISTRY, toy=(lambda: SimpleNamespace(embodiment=TOY), "a toy")):
        write_openvla_bundle(recipe, folder / "bundle", unnorm_key=f"version {version}", robot="toy")


def read_openvla(folder: Path) -> Any:
    if not (folder / "bundle").exists():
        return None
    found = Bundle.load(folder / "bundle")
    scale = [step["scale"] for step in found.transform["steps"] if "scale" in step]
    return found.config["norm_stats"], scale, sorted(found.weights), sorted(found.assets)
