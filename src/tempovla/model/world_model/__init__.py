"""World models: predicting representations of the future, and planning with them."""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.world_model.observation_decoder import ObservationDecoder
    from tempovla.model.world_model.planning.config import PlannerConfig
    from tempovla.model.world_model.planning.plan import plan
    from tempovla.model.world_model.planning.scores import Costs, Goal
    from tempovla.model.world_model.planning.search import Plan
    from tempovla.model.world_model.predictors import RewardPredictor
    from tempovla.model.world_model.protocol import WorldModel
    from tempovla.model.world_model.rssm import RSSM
    from tempovla.model.world_model.rssm_state import RSSMState

__all__ = [
    "RSSM",
    "Costs",
    "Goal",
    "ObservationDecoder",
    "Plan",
    "PlannerConfig",
    "RSSMState",
    "RewardPredictor",
    "WorldModel",
    "plan",
]

_MODULES = {
    "observation_decoder": ("ObservationDecoder",),
    "planning.config": ("PlannerConfig",),
    "planning.plan": ("plan",),
    "planning.scores": ("Costs", "Goal"),
    "planning.search": ("Plan",),
    "predictors": ("RewardPredictor",),
    "protocol": ("WorldModel",),
    "rssm": ("RSSM",),
    "rssm_state": ("RSSMState",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
