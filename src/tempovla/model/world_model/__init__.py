"""World models: predicting representations of the future, and planning with them."""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.world_model.planning.config import PlannerConfig
    from tempovla.model.world_model.planning.plan import plan
    from tempovla.model.world_model.planning.scores import Costs

__all__ = ["Costs", "PlannerConfig", "plan"]

_MODULES = {
    "planning.config": ("PlannerConfig",),
    "planning.plan": ("plan",),
    "planning.scores": ("Costs",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
