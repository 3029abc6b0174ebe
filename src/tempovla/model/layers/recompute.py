"""Trading time for memory: activations that are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recompute(nn.Module):
    """A stack of layers that, with `recompute` on, keeps only the layers' inputs for the backward pass.

    Each layer then runs twice in a training step, with the same result (gradient checkpointing; Chen et al., 2016).
    """

    recompute = False

    def run_layer(self, layer: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
        """Return the layer's output."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False, **options)
        return layer(*inputs, **options)
