"""The systems that can be trained, by name. A system's module is loaded at first use."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tempovla.recipe.settings.system import System
from tempovla.storage.said_by import said_by
from tempovla.timeline.config import config_from_json
from tempovla.timeline.lazy import Lazy, loaded

if TYPE_CHECKING:
    from tempovla.timeline import Bundle

SYSTEM_REGISTRY: dict[str, tuple[Lazy[System], str]] = {
    "align": (
        "tempovla.recipe.systems.vlm_config:ALIGN",
        "train a vision-language model's projector on pictures and captions",
    ),
    "driving": (
        "tempovla.recipe.systems.driving_config:SYSTEM",
        "train a driving policy: cameras, LiDAR, radar and IMU to a bird's eye view, and to a trajectory",
    ),
    "instruct": (
        "tempovla.recipe.systems.vlm_config:INSTRUCT",
        "train a vision-language model to answer about pictures, before a policy is built on it",
    ),
    "openvla": (
        "tempovla.recipe.systems.openvla_config:SYSTEM",
        "fine-tune OpenVLA, with adapters (LoRA) or as a whole",
    ),
    "sagr": (
        "tempovla.recipe.systems.sagr_config:SYSTEM",
        "train SA-GR: flow matching with a world predictor from now to k steps ahead",
    ),
    "smolvla": (
        "tempovla.recipe.systems.smolvla_config:SYSTEM",
        "train SmolVLA: a SmolVLM, and an action expert that reads its layers",
    ),
    "statevla": (
        "tempovla.recipe.systems.statevla_config:SYSTEM",
        "train StateVLA: temporal JEPA, then flow matching",
    ),
    "world-model": (
        "tempovla.recipe.systems.world_model_config:SYSTEM",
        "train a world model and a policy that acts by it (TD-MPC2, DreamerV3), in a simulator or from a recording",
    ),
    "vla": (
        "tempovla.recipe.systems.vla_config:SYSTEM",
        "train a VLA: vision encoder, language model and action head of your choice",
    ),
}
"""Name to the system, or where it is found, and to what `tempovla --help` says of its training. A system that trains
policies has the name that their bundles carry."""


def find_system(name: str) -> System:
    """Return a system by its name.

    Raises:
        ValueError: if there is none, with the nearest name.
    """
    if name not in SYSTEM_REGISTRY:
        near = get_close_matches(str(name), SYSTEM_REGISTRY, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(SYSTEM_REGISTRY))}"
        raise ValueError(f"system {name!r} is unknown; {hint}")
    return loaded(SYSTEM_REGISTRY[name][0])


def name_of(recipe: Any) -> str:
    """Return the name of the first system that is trained from recipes of this type.

    Raises:
        ValueError: if there is none.
    """
    for name in SYSTEM_REGISTRY:
        if type(recipe) is find_system(name).recipe:
            return name
    raise ValueError(
        f"{type(recipe).__name__} is no recipe of a registered system; give a YAML file, the name of a packaged config "
        "or a recipe such as VLARecipe(), or add the system to SYSTEM_REGISTRY in tempovla.recipe.systems.registry"
    )


def recipe_of(bundle: Bundle, where: str) -> Any:
    """Return the recipe that a bundle was trained with; `where` names the bundle in messages.

    Raises:
        ValueError: if the bundle has no recipe.
    """
    if bundle.policy not in SYSTEM_REGISTRY or "recipe" not in bundle.provenance:
        raise ValueError(f"{where}: does not say what it was trained on; give a checkpoint of `tempovla train`")
    with said_by(where, remedy="copy the checkpoint again"):
        return config_from_json(find_system(bundle.policy).recipe, bundle.provenance["recipe"], f"{where}: recipe")
