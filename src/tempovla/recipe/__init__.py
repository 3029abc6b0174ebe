"""Experiments: systems, datasets, collection, evaluation, diagnosis, and the demo.

The names below are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.recipe.systems.temporal_config import TemporalTrainingConfig
    from tempovla.recipe.systems.vla import train_vla
    from tempovla.recipe.systems.vla_config import VLARecipe, VLATraining

__all__ = ["TemporalTrainingConfig", "VLARecipe", "VLATraining", "train_vla"]

_MODULES = {
    "systems.temporal_config": ("TemporalTrainingConfig",),
    "systems.vla": ("train_vla",),
    "systems.vla_config": ("VLARecipe", "VLATraining"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
