"""Refusals of what cannot be exported, before anything is tried."""

from __future__ import annotations

from tempovla.export.deployed import DeployedPolicy
from tempovla.model.action_head.transformer_action_head import TransformerActionHead
from tempovla.model.layers.mamba import Mamba

LARGEST_CHUNK = 64
"""Most tokens of an autoregressive chunk: each is a pass of the network of its own in the graph."""


def check_can_be_exported(deployed: DeployedPolicy, name: str, *, loops: bool) -> None:
    """Refuse what would give a graph that nobody wants.

    Raises:
        ValueError: naming the part, and what can be exported instead.
    """
    modules = list(deployed.modules())
    if not loops and any(isinstance(module, Mamba) for module in modules):
        raise ValueError(
            f"a policy with Mamba layers cannot be exported as {name}: their scan over time would be written out step "
            "by step; choose onnx or torch-export, or train with a transformer in their place"
        )
    for module in modules:
        if isinstance(module, TransformerActionHead) and module.num_tokens > LARGEST_CHUNK:
            raise ValueError(
                f"a transformer head of {module.num_tokens} tokens cannot be exported: the graph would hold a pass of "
                f"the network for each of them, and {LARGEST_CHUNK} are the limit; shorten the chunk, or train with "
                "mixtures in place of bins, or another head"
            )
