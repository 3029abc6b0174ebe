"""Experiments: systems, datasets, collection, evaluation, diagnosis, and the demo.

The names below are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.recipe.systems.sagr import train_sagr
    from tempovla.recipe.systems.sagr_config import SAGRRecipe, SAGRTraining
    from tempovla.recipe.systems.temporal_config import TemporalTrainingConfig
    from tempovla.recipe.systems.vla import train_vla
    from tempovla.recipe.systems.vla_config import VLARecipe, VLATraining

__all__ = [
    "SAGRRecipe",
    "SAGRTraining",
    "TemporalTrainingConfig",
    "VLARecipe",
    "VLATraining",
    "train_sagr",
    "train_vla",
]

_MODULES = {
    "systems.sagr": ("train_sagr",),
    "systems.sagr_config": ("SAGRRecipe", "SAGRTraining"),
    "systems.temporal_config": ("TemporalTrainingConfig",),
    "systems.vla": ("train_vla",),
    "systems.vla_config": ("VLARecipe", "VLATraining"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
