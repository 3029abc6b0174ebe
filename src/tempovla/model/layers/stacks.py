"""Search for the stacked layers of a model, such as its transformer blocks."""

from __future__ import annotations

from torch import nn

from tempovla.model.layers.recompute import Recompute


def outermost_layers(module: nn.Module) -> list[nn.Module]:
    """Return entries of the module lists in a module that lie in no other such list: the blocks of a transformers
    model.
    """
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in outermost_layers(child)]


def recomputed_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers of every stack in a module that `Recompute` runs, one at a time and nothing else of them."""
    stacks = [stack for stack in module.modules() if isinstance(stack, Recompute)]
    return [layer for stack in stacks for layer in outermost_layers(stack)]
