"""Recipes by the name of the policy that they train."""

from __future__ import annotations

from typing import Any

from tempovla.recipe.systems.openvla_config import OpenVLARecipe
from tempovla.recipe.systems.smolvla_config import SmolVLARecipe
from tempovla.recipe.systems.statevla_config import StateVLARecipe
from tempovla.recipe.systems.vla_config import VLARecipe
from tempovla.storage.said_by import said_by
from tempovla.timeline import Bundle
from tempovla.timeline.config import config_from_json

RECIPE_REGISTRY: dict[str, type[Any]] = {
    "openvla": OpenVLARecipe,
    "smolvla": SmolVLARecipe,
    "statevla": StateVLARecipe,
    "vla": VLARecipe,
}


def recipe_of(bundle: Bundle, where: str) -> Any:
    """What a bundle was trained with; `where` it comes from is for the message.

    Raises:
        ValueError: if the bundle does not say it.
    """
    if bundle.policy not in RECIPE_REGISTRY or "recipe" not in bundle.provenance:
        raise ValueError(f"{where}: does not say what it was trained on; give a checkpoint of `tempovla train`")
    with said_by(where, remedy="copy the checkpoint again"):
        return config_from_json(RECIPE_REGISTRY[bundle.policy], bundle.provenance["recipe"], f"{where}: recipe")
