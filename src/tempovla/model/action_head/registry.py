"""Action heads by name; your own head is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tempovla.timeline.lazy import LazyRegistry

if TYPE_CHECKING:
    from tempovla.model.action_head.base import ActionHeadBase

ACTION_HEAD_REGISTRY: LazyRegistry[type[ActionHeadBase]] = LazyRegistry(
    {
        "mlp": "tempovla.model.action_head.mlp_action_head:MLPActionHead",
        "gaussian": "tempovla.model.action_head.gaussian_action_head:GaussianMLPActionHead",
        "diffusion": "tempovla.model.action_head.diffusion_action_head:DiffusionActionHead",
        "flow_matching": "tempovla.model.action_head.flow_matching_action_head:FlowMatchingActionHead",
        "modes": "tempovla.model.action_head.modes_action_head:ModesActionHead",
        "transformer": "tempovla.model.action_head.transformer_action_head:TransformerActionHead",
    }
)
"""Name to class; a module is loaded at first use of its head, so that help and configs need no torch."""


def build_action_head(
    name: str, input_dim: int, action_dim: int, action_horizon: int, options: Mapping[str, Any] | None = None
) -> ActionHeadBase:
    """Return the head of that name.

    Args:
        name: key of `ACTION_HEAD_REGISTRY`.
        input_dim: size of a feature.
        action_dim: dimensions of an action.
        action_horizon: steps of a chunk, whatever the head's own constructor calls them.
        options: further keywords of its constructor.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest one, or if an option does not fit.
    """
    if name not in ACTION_HEAD_REGISTRY:
        from tempovla.model.action_head.base import nearest

        raise ValueError(f"action head {name!r} is unknown{nearest(name, sorted(ACTION_HEAD_REGISTRY))}")
    return ACTION_HEAD_REGISTRY[name].build(input_dim, action_dim, action_horizon, options or {})
