"""Action heads: from a representation to a chunk of actions.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.action_head.action_chunker import ActionChunker, ChunkPlayer, ChunkState
    from tempovla.model.action_head.base import ActionHeadBase, DrawingActionHead
    from tempovla.model.action_head.diffusion_action_head import DiffusionActionHead
    from tempovla.model.action_head.flow_matching_action_head import FlowMatchingActionHead
    from tempovla.model.action_head.gaussian_action_head import GaussianMLPActionHead
    from tempovla.model.action_head.mlp_action_head import MLPActionHead
    from tempovla.model.action_head.modes_action_head import ModesActionHead
    from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY, build_action_head
    from tempovla.model.action_head.transformer_action_head import TransformerActionHead

__all__ = [
    "ACTION_HEAD_REGISTRY",
    "ActionChunker",
    "ActionHeadBase",
    "ChunkPlayer",
    "ChunkState",
    "DiffusionActionHead",
    "DrawingActionHead",
    "FlowMatchingActionHead",
    "GaussianMLPActionHead",
    "MLPActionHead",
    "ModesActionHead",
    "TransformerActionHead",
    "build_action_head",
]

_MODULES = {
    "action_chunker": (
        "ActionChunker",
        "ChunkPlayer",
        "ChunkState",
    ),
    "base": ("ActionHeadBase", "DrawingActionHead"),
    "diffusion_action_head": ("DiffusionActionHead",),
    "flow_matching_action_head": ("FlowMatchingActionHead",),
    "gaussian_action_head": ("GaussianMLPActionHead",),
    "mlp_action_head": ("MLPActionHead",),
    "modes_action_head": ("ModesActionHead",),
    "registry": (
        "ACTION_HEAD_REGISTRY",
        "build_action_head",
    ),
    "transformer_action_head": ("TransformerActionHead",),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)
