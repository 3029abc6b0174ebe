"""One module per trainable system: composes the rooms into an experiment.

What one writes by hand in Python is loaded from here when it is asked for.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.recipe.temporal_config import TemporalTrainingConfig
    from tempovla.recipe.vla import train_vla
    from tempovla.recipe.vla_config import VLARecipe, VLATraining

__all__ = ["TemporalTrainingConfig", "VLARecipe", "VLATraining", "train_vla"]

_MODULES = {
    "temporal_config": ("TemporalTrainingConfig",),
    "vla": ("train_vla",),
    "vla_config": ("VLARecipe", "VLATraining"),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
