"""Experiments: what is trained, on which data, how it is judged, and the demo that shows all of it.

What one writes by hand in Python is loaded from here when it is asked for.
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
