"""Token ordering and multi-modal fusion: of token sets, and of maps in a bird's eye view.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.fusion.align import align_bev, relative_motion
    from tempovla.model.fusion.bev import BEVEncoder, BEVFusion, BEVTokens
    from tempovla.model.fusion.bev_config import BEVFusionConfig, LiftConfig
    from tempovla.model.fusion.cross_modal import CrossModalFusion, FusedTokens
    from tempovla.model.fusion.hierarchical import HierarchicalFusion
    from tempovla.model.fusion.lift_splat import Lift, LiftSample, LiftSplat, build_lift
    from tempovla.model.fusion.modality_dropout import keep_modalities
    from tempovla.model.fusion.point_depth import projected_depth

__all__ = [
    "BEVEncoder",
    "BEVFusion",
    "BEVFusionConfig",
    "BEVTokens",
    "CrossModalFusion",
    "FusedTokens",
    "HierarchicalFusion",
    "Lift",
    "LiftConfig",
    "LiftSample",
    "LiftSplat",
    "align_bev",
    "build_lift",
    "keep_modalities",
    "projected_depth",
    "relative_motion",
]

_MODULES = {
    "align": ("align_bev", "relative_motion"),
    "bev": ("BEVEncoder", "BEVFusion", "BEVTokens"),
    "bev_config": ("BEVFusionConfig", "LiftConfig"),
    "cross_modal": ("CrossModalFusion", "FusedTokens"),
    "hierarchical": ("HierarchicalFusion",),
    "lift_splat": ("Lift", "LiftSample", "LiftSplat", "build_lift"),
    "modality_dropout": ("keep_modalities",),
    "point_depth": ("projected_depth",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
